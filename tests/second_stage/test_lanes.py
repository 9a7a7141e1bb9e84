"""Runs of every method side by side under `vmap`; the library's tests have some of them."""

import pytest
from test_counting import IN_LANES, check_lanes

from zosah_jax.methods import METHODS


@pytest.mark.parametrize("name", [name for name in METHODS if name not in IN_LANES])
def test_under_vmap_a_lane_is_and_counts_what_it_would_be_alone(name, x64):
    check_lanes(name)
