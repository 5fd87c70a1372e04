"""Unit tests of the local stack: what is pure in it, and what needs files or a harmless process."""
