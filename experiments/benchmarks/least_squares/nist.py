"""NIST's nonlinear regressions (StRD): 27 problems with certified parameters, two starts each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.common.errors import InputError

Model = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _rational(b: np.ndarray, x: np.ndarray, above: int) -> np.ndarray:
    """Ratio of polynomials: the first `above` of b, over 1 and the rest."""
    powers = x[:, None] ** np.arange(max(above, len(b) - above + 1))
    return powers[:, :above] @ b[:above] / (1 + powers[:, 1 : len(b) - above + 1] @ b[above:])


def _gauss(b: np.ndarray, x: np.ndarray) -> np.ndarray:
    peaks = b[2] * np.exp(-(((x - b[3]) / b[4]) ** 2)) + b[5] * np.exp(-(((x - b[6]) / b[7]) ** 2))
    return b[0] * np.exp(-b[1] * x) + peaks


def _enso(b: np.ndarray, x: np.ndarray) -> np.ndarray:
    def cycle(c: float, s: float, period: float) -> np.ndarray:
        return c * np.cos(2 * np.pi * x / period) + s * np.sin(2 * np.pi * x / period)

    return b[0] + cycle(b[1], b[2], 12.0) + cycle(b[4], b[5], b[3]) + cycle(b[7], b[8], b[6])


def _lanczos(b: np.ndarray, x: np.ndarray) -> np.ndarray:
    return b[0::2] @ np.exp(-b[1::2, None] * x)


MODELS: dict[str, Model] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - np.exp(-b[1] * x)),
    "Chwirut1": lambda b, x: np.exp(-b[0] * x) / (b[1] + b[2] * x),
    "Chwirut2": lambda b, x: np.exp(-b[0] * x) / (b[1] + b[2] * x),
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * np.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": lambda b, x: _rational(b, x, 4),
    "Kirby2": lambda b, x: _rational(b, x, 3),
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Lanczos3": _lanczos,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * np.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * np.exp(-x * b[3]) + b[2] * np.exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - np.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[:, 0] * np.exp(-b[2] * x[:, 1]),
    "Rat42": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - np.arctan(b[2] / (x - b[3])) / np.pi,
    "Thurber": lambda b, x: _rational(b, x, 4),
}
"""The models by name: (parameters of shape (d,), predictors of shape (k,) or (k, 2)) -> (k,)."""


@dataclass(frozen=True)
class Regression:
    """A problem of NIST's.

    Attributes:
        name: of its file and of its model.
        predictors, response: the data, shapes (k,) or (k, 2), and (k,).
        starts: the two starts, shape (2, d).
        certified: the parameters, to eleven digits, shape (d,).
        deviations: their certified standard deviations, shape (d,).
    """

    name: str
    predictors: np.ndarray
    response: np.ndarray
    starts: np.ndarray
    certified: np.ndarray
    deviations: np.ndarray

    def __call__(self, parameters: np.ndarray) -> np.ndarray:
        """Residuals, shape (k,); NaN or infinite where the model is not defined."""
        with np.errstate(all="ignore"):
            return MODELS[self.name](np.asarray(parameters), self.predictors) - self.response


_PARAMETER = re.compile(r"^\s*b\d+\s*=\s*(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*$", re.MULTILINE)


def load(name: str, folder: Path) -> Regression:
    """A problem read from NIST's file.

    Args:
        name: one of `MODELS`.
        folder: where `<name>.dat` lies.

    Raises:
        InputError: there is no such file, or it is not one of NIST's.
    """
    path = folder / f"{name}.dat"
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise InputError(f"data_dir: {path} cannot be read ({error.strerror}).") from None
    parameters = np.array(_PARAMETER.findall(text), float)
    rows = text.rsplit("Data:", 1)[1].splitlines()[1:]
    data = np.array([row.split() for row in rows if row.strip()], float)
    if parameters.size == 0 or data.size == 0:
        raise InputError(f"data_dir: {path} has no parameters or no data of NIST's form.")
    response, predictors = data[:, 0], data[:, 1:]
    if name == "Nelson":  # its model is of the logarithm
        response = np.log(response)
    if predictors.shape[1] == 1:
        predictors = predictors[:, 0]
    starts, certified, deviations = parameters[:, :2].T, parameters[:, 2], parameters[:, 3]
    return Regression(name, predictors, response, starts, certified, deviations)
