"""The command line: one file a command.

Modules import only click and the standard library at the top; everything else is imported when a
command runs, so that `lab --help` is quick.
"""
