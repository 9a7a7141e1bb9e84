"""Quadratic regression, this library's own solver for few parameters: see `solver.py`."""
