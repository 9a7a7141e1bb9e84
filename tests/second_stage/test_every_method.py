"""What takes large programs of every method; the library's tests have it of each kind of method."""

import pytest
import test_counting
import test_exam
import test_strict_modes
from counting import OF_EACH_KIND

from zosah_jax.methods import METHODS

of_the_others = pytest.mark.parametrize(
    "name", [name for name in METHODS if name not in OF_EACH_KIND]
)


@of_the_others
def test_under_vmap_a_lane_is_and_counts_what_it_would_be_alone(name, x64):
    test_counting.check_lanes(name)


@pytest.mark.parametrize("name", [n for n in test_exam.EXAMINED if n not in OF_EACH_KIND])
def test_scan_and_vmap_over_seeds_agree_with_single_steps(name, x64):
    test_exam.check_lanes(name)


@of_the_others
def test_nothing_is_nan_where_no_value_is(name):
    test_strict_modes.check_nan(name)


@pytest.mark.parametrize("name", [n for n in test_exam.EXAMINED if n not in OF_EACH_KIND])
def test_trains_an_nnx_model(name):
    test_exam.check_nnx(name)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in test_strict_modes.KINDS])
def test_an_update_lowers_for_accelerators_in_float64(name):
    test_strict_modes.test_an_update_lowers_for_accelerators(name, True)
