"""Attacking a classifier over HTTP."""
