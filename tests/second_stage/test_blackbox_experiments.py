"""The experiments outside JAX at tiny budgets."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import experiment
from experiments.benchmarks.host_costs import experiment as host_costs
from experiments.benchmarks.robustness import experiment as robustness
from experiments.common.errors import InputError
from experiments.common.records import read
from experiments.examples.control import experiment as control
from experiments.examples.control.simulation import GUESS, Cost
from experiments.examples.http_attack import experiment as http_attack
from experiments.examples.http_attack.experiment import shortened
from experiments.examples.reaction_kinetics import experiment as reaction_kinetics
from experiments.examples.reaction_kinetics.model import RATES, concentrations
from experiments.examples.reaction_kinetics.problem import calibration


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


@pytest.mark.slow
def test_http_attack(tmp_path, capsys):
    config = http_attack.Config(digits=(5,), budget=130, out=tmp_path)
    experiment.run(http_attack.EXPERIMENT, config)
    (attack,) = read(tmp_path)["results"]["attacks"]
    blend = attack["found"]["blend"]
    assert blend["read_as"] != 5
    assert 0.3 < blend["distance"] < 5
    for found in attack["found"].values():
        assert found["questions"] is None or found["questions"] <= 130
    assert "questions" in capsys.readouterr().out


@pytest.mark.slow
def test_control(tmp_path):
    config = control.Config(seeds=(0,), budget=40, workers=1, out=tmp_path)
    experiment.run(control.EXPERIMENT, config)
    runs = read(tmp_path)["results"]["runs"]
    assert set(runs) == {"zosah_jax", "COBYQA", "CMA-ES"}
    for (run,) in runs.values():
        assert run["cost"] == pytest.approx(Cost((0, 1, 2, 3))(np.array(run["gains"])), rel=1e-6)


@pytest.mark.slow
def test_reaction_kinetics(tmp_path, monkeypatch, capsys):
    config = reaction_kinetics.Config(
        seeds=(0,), budget=60, workers=1, vector_budget=60, sleep=0.001, out=tmp_path
    )
    experiment.run(reaction_kinetics.EXPERIMENT, config)
    results = read(tmp_path)["results"]
    assert set(results["final"]) == {"the default", "ZO-PQN", "ZO-SAH", "COBYQA", "CMA-ES"}
    for (misfit,) in results["final"].values():
        assert misfit <= results["start"][0]
    found = results["vectors"]
    (smallest,) = found["smallest"]
    assert smallest < results["truth"][0]
    (to_2, to_01) = found["needed"]["least_squares"][0]
    assert 22 < to_2 <= to_01 <= 60
    assert found["median_curves"]["least_squares"][0] == pytest.approx(results["start"][0])
    assert found["faults"]["none"][0] <= 60
    assert all(number <= 60 for number in found["workers"]["simulations"][0])
    assert found["own_work"]["milliseconds"] > 0
    assert "true constants" in capsys.readouterr().out

    monkeypatch.setattr(reaction_kinetics.records, "read", lambda folder: read(tmp_path))
    again = replace(config, only=("vectors",), out=tmp_path / "again")
    kept = reaction_kinetics.measure(replace(again, only=("misfit",)))["vectors"]
    assert kept == found
    with pytest.raises(InputError, match="only: wanted kept results of the same config"):
        reaction_kinetics.measure(replace(again, budget=61))


def test_a_residual_is_a_part_of_the_misfit():
    misfit, guess = calibration(1, 0.05, 0.3)
    residuals = misfit.residuals(guess)
    assert residuals.shape == (304,)
    assert residuals @ residuals == pytest.approx(misfit(guess), rel=1e-12)


@pytest.mark.slow
def test_robustness(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(robustness, "_SLOW_PARAMETERS", 4)
    config = robustness.Config(
        kills=1, seeds=(0,), budget=400, slow_values=40, quick_values=200, out=tmp_path
    )
    experiment.run(robustness.EXPERIMENT, config)
    results = read(tmp_path)["results"]
    kills = results["kills"]
    assert kills["equal"] == kills["runs"] == 1
    assert kills["asked_twice"] == kills["lost"] == 0
    assert set(results["failing"]) == {"clean", "failing"}
    assert all(np.isfinite(gaps).all() for gaps in results["noise"].values())
    assert "own work a value" in capsys.readouterr().out


def test_host_costs(tmp_path, capsys):
    config = host_costs.Config(
        dimensions=(2,),
        noisy_dimensions=(3,),
        values=60,
        workers=3,
        functions=("variably dimensioned", "NONDIA"),
        dimension=8,
        seconds=0.002,
        gap=1e-2,
        budget=3,
        out=tmp_path,
    )
    experiment.run(host_costs.EXPERIMENT, config)
    results = read(tmp_path)["results"]
    quick, noisy = results["own_work"]
    assert (quick["method"], noisy["method"]) == ("QuadraticRegression", "NoisyRegression")
    assert min(quick["ms_a_value"], noisy["ms_a_value"]) > 0
    one, several = (results["slow"]["variably dimensioned"][n] for n in ("1", "3"))
    assert one["values"] <= several["values"] <= 24
    assert several["seconds"] > 0.002 * several["values"] / 3
    assert host_costs.ratios(results)["variably dimensioned"] == several["seconds"] / one["seconds"]
    assert "geometric mean" in capsys.readouterr().out


def test_problems_of_the_robustness_experiment():
    for fun, x0, optimum in robustness.problems_of().values():
        assert optimum < fun(x0)
        assert isinstance(fun(x0), float)
