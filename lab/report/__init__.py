"""Finished runs as a page of HTML with figures, examples and attention, or in short as Markdown.

torch and jinja2 are imported when a page is made.
"""

from lab.report.markdown import text
from lab.report.page import file_name, html
from lab.report.words import Headline, verdict

__all__ = ["Headline", "file_name", "html", "text", "verdict"]
