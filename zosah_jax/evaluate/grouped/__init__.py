"""Probes of single coordinates, answered by recomputing only what the coordinate changes."""
