"""Crashes, failures, noise, slowness."""
