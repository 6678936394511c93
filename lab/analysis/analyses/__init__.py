"""The analyses that `lab analyze --what NAME` knows by name, one a file (lab.analysis.finding)."""
