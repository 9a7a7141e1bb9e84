"""The experiments outside JAX at tiny budgets."""

import numpy as np
import pytest

from experiments.control import __main__ as control
from experiments.control.simulation import GUESS, Cost
from experiments.http_attack import __main__ as http_attack
from experiments.http_attack.run import shortened
from experiments.reaction_kinetics.model import RATES, concentrations
from experiments.reaction_kinetics.problem import calibration
from experiments.records import read
from experiments.references import cma_curve
from experiments.robustness import run as robustness


def test_pollution_is_that_of_the_published_solution():
    found = concentrations(RATES, np.array([60.0]), 1e-10)[0]
    published = [0.05646255480022769, 0.1342484130422339, 0.005523140207484359]
    np.testing.assert_allclose(found[[0, 1, 3]], published, rtol=1e-6)


def test_the_truth_fits_as_well_as_the_noise_allows():
    misfit, guess = calibration(3, 0.05, 0.3)
    assert 0.7 < misfit(np.zeros(20)) < 1.3
    assert misfit(guess) > 50
    assert misfit(guess) == misfit(guess)
    with pytest.raises(ArithmeticError):
        concentrations(np.full(25, np.nan), np.array([1.0]))


def test_the_plausible_controller_holds_the_pendulum():
    cost = Cost((0, 1))
    assert cost(GUESS) < 1 < cost(0.05 * GUESS)


def test_shortened_ends_where_the_reading_changes():
    image = shortened(lambda x: 0.25 - x[0], np.zeros(2), np.array([1.0, 0.0]))
    assert image is not None
    assert 0.25 < image[0] < 0.2503
    assert shortened(lambda x: 1.0, np.zeros(2), np.ones(2)) is None


def test_cma_never_exceeds_its_budget():
    calls = []

    def bowl(x):
        calls.append(x)
        return float(x @ x)

    curve = cma_curve(bowl, np.ones(3), 0.5, 50, 0, (-2.0, 2.0))
    assert len(calls) == 50 == curve.spent[-1]
    assert np.all(np.diff(curve.best) <= 0)
    assert np.abs(calls).max() <= 2


@pytest.mark.slow
def test_http_attack(tmp_path, capsys):
    http_attack.main(http_attack.Config(digits=(5,), budget=130, out=tmp_path))
    (attack,) = read(tmp_path)["results"]["attacks"]
    blend = attack["found"]["blend"]
    assert blend["read_as"] != 5
    assert 0.3 < blend["distance"] < 5
    for found in attack["found"].values():
        assert found["questions"] is None or found["questions"] <= 130
    assert "questions" in capsys.readouterr().out


@pytest.mark.slow
def test_control(tmp_path):
    control.main(control.Config(seeds=(0,), budget=40, workers=1, out=tmp_path))
    runs = read(tmp_path)["results"]["runs"]
    assert set(runs) == {"zosah_jax", "COBYQA", "CMA-ES"}
    for (run,) in runs.values():
        assert run["cost"] == pytest.approx(Cost((0, 1, 2, 3))(np.array(run["gains"])), rel=1e-6)


def test_problems_of_the_robustness_experiment():
    for fun, x0, optimum in robustness._problems().values():
        assert optimum < fun(x0)
    assert robustness.rosenbrock(np.ones(2)) == 0
