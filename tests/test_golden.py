"""The published methods walk as before the core was rebuilt: `golden/trajectories.json`."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from golden.runs import RUNS, run
from precision import allowed

GOLDEN = json.loads((Path(__file__).parent / "golden" / "trajectories.json").read_text())
TOLERANCE = allowed(1e-12, 1e-10)


@pytest.fixture(autouse=True)
def optimised_as_they_were_made(request):
    """The last bit depends on what XLA fuses, and the paper's prior amplifies it 1e6 times."""
    name = request.node.callspec.params["name"] if hasattr(request.node, "callspec") else ""
    jax.config.update("jax_disable_most_optimizations", not name.startswith("zosah_paper"))
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def test_every_run_is_kept():
    assert set(GOLDEN) == set(RUNS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.xdist_group(RUNS[n][0])) for n in RUNS],
)
def test_trajectory_is_as_it_was(x64, name):
    points, counts = run(name)
    np.testing.assert_allclose(points, GOLDEN[name]["points"], rtol=TOLERANCE, atol=TOLERANCE)
    assert counts.tolist() == GOLDEN[name]["num_evaluations"]
