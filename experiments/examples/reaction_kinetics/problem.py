"""Calibration: 20 unknown rate constants from noisy concentrations."""

from dataclasses import dataclass

import numpy as np

from experiments.examples.reaction_kinetics.model import MINUTES, RATES, concentrations

# The five left out are photolyses and their like that hardly touch what is measured.
UNKNOWN = np.array([number for number in range(25) if number not in (14, 15, 16, 17, 18)])
MEASURED = np.array([species for species in range(20) if species != 15])  # 1e-18 of the 16th
TIMES = np.geomspace(0.05, MINUTES, 16)
_TRACE = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Misfit of a guess; a class, so that it can be sent to other processes.

    Attributes:
        measured: logarithms of concentrations, with noise, shape (16, 19).
        error: standard deviation of that noise.
    """

    measured: np.ndarray
    error: float

    def __call__(self, logarithms: np.ndarray) -> float:
        """Mean squared residual in units of the noise; 1 is as good as the truth.

        Args:
            logarithms: of the unknown rate constants over the published ones, to base 10,
                shape (20,).
        """
        return float(np.mean(self._residual(logarithms) ** 2))

    def residuals(self, logarithms: np.ndarray) -> np.ndarray:
        """All residuals, whose sum of squares is the misfit, shape (304,)."""
        return self._residual(logarithms).ravel() / np.sqrt(self.measured.size)

    def _residual(self, logarithms: np.ndarray) -> np.ndarray:
        return (_simulated(logarithms, 1e-6) - self.measured) / self.error


def calibration(seed: int, error: float, doubt: float) -> tuple[Calibration, np.ndarray]:
    """A problem, and a first guess.

    Args:
        seed: of the noise and of the guess.
        error: relative error of a measurement.
        doubt: standard deviation of the guess, in decades.

    Returns:
        (misfit, first guess of shape (20,)); the truth is at 0.
    """
    rng = np.random.default_rng(seed)
    truth = _simulated(np.zeros(len(UNKNOWN)), 1e-9)
    measured = truth + error * rng.normal(size=truth.shape)
    return Calibration(measured, error), doubt * rng.normal(size=len(UNKNOWN))


def _simulated(logarithms: np.ndarray, tolerance: float) -> np.ndarray:
    rates = RATES.copy()
    rates[UNKNOWN] *= 10.0**logarithms
    found = concentrations(rates, TIMES, tolerance)[:, MEASURED]
    return np.log(np.maximum(found, 0) + _TRACE)
