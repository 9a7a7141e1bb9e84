"""Helpers for other libraries, a module each; each needs the extra of its name."""
