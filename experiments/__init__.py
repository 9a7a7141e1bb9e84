"""Experiments with `zosah_jax`, all of one shape; see README.md."""
