"""Tuning a controller in a simulation."""
