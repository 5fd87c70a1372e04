"""TrueUp keeps every copy of a table true to the one system that owns it."""

__version__ = "0.1.0"
