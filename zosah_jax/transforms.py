"""Transformations that go with the methods: projections, proximal steps, objectives under masks."""

from zosah_jax.evaluate.objective import fill_masked
from zosah_jax.extras.proximal import project, prox_l1

__all__ = ["fill_masked", "project", "prox_l1"]
