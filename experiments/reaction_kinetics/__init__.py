"""Calibrating a reaction-kinetics model."""
