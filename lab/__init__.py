"""A laboratory for what small sequence models learn to reason about, and how far it carries."""

__version__ = "0.1.0"
