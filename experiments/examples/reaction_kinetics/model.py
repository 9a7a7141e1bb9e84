"""POLLU: 25 reactions of 20 species in polluted air, a stiff system of differential equations.

Verwer, `Gauss-Seidel iteration for stiff ODEs from chemical kinetics`, SIAM J. Sci. Comput. 15
(1994); in the Test Set for Initial Value Problems (Mazzia, Magherini, 2008) as problem POLLU.
"""

import warnings

import numpy as np
from scipy.integrate import ODEintWarning, odeint

RATES = np.array(
    [
        0.350, 26.6, 12300, 0.00086, 0.00082, 15000, 0.00013, 24000, 16500, 9000, 0.022, 12000,
        1.88, 16300, 4.8e6, 0.00035, 0.0175, 1e8, 4.44e11, 1240, 2.1, 5.78, 0.0474, 1780, 3.12,
    ]
)  # fmt: skip
START = np.zeros(20)
START[[1, 3, 6, 7, 8, 16]] = 0.2, 0.04, 0.1, 0.3, 0.01, 0.007
MINUTES = 60.0

# Reactants of each reaction, and what it makes, as (species, how many), numbered from 1.
_REACTIONS: tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...] = (
    ((1,), ((2, 1), (3, 1))),
    ((2, 4), ((1, 1),)),
    ((5, 2), ((1, 1), (6, 1))),
    ((7,), ((5, 2), (8, 1))),
    ((7,), ((8, 1),)),
    ((7, 6), ((5, 1), (8, 1))),
    ((9,), ((5, 1), (8, 1), (10, 1))),
    ((9, 6), ((11, 1),)),
    ((11, 2), ((1, 1), (10, 1), (12, 1))),
    ((11, 1), ((13, 1),)),
    ((13,), ((1, 1), (11, 1))),
    ((10, 2), ((1, 1), (14, 1))),
    ((14,), ((5, 1), (7, 1))),
    ((1, 6), ((15, 1),)),
    ((3,), ((4, 1),)),
    ((4,), ((16, 1),)),
    ((4,), ((3, 1),)),
    ((16,), ((6, 2),)),
    ((16,), ((3, 1),)),
    ((17, 6), ((5, 1), (18, 1))),
    ((19,), ((2, 1),)),
    ((19,), ((1, 1), (3, 1))),
    ((1, 4), ((19, 1),)),
    ((19, 1), ((20, 1),)),
    ((20,), ((1, 1), (19, 1))),
)


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second reactant of each reaction (20: none), and what it changes, (20, 25)."""
    first, second = np.full(25, 20), np.full(25, 20)
    change = np.zeros((20, 25))
    for number, (reactants, products) in enumerate(_REACTIONS):
        first[number] = reactants[0] - 1
        if len(reactants) == 2:
            second[number] = reactants[1] - 1
        for species in reactants:
            change[species - 1, number] -= 1
        for species, many in products:
            change[species - 1, number] += many
    return first, second, change


_FIRST, _SECOND, _CHANGE = _tables()
_NUMBER = np.arange(25)


def concentrations(rates: np.ndarray, times: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """Concentrations (ppm) at some times (minutes), by LSODA.

    Args:
        rates: of the 25 reactions.
        times: increasing, shape (n,).
        tolerance: relative, of the integrator.

    Returns:
        Shape (n, 20).

    Raises:
        ArithmeticError: the integrator gave up.
    """

    def speeds(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        padded = np.append(y, 1.0)
        return padded[_FIRST], padded[_SECOND]

    def slope(y: np.ndarray, _: float) -> np.ndarray:
        one, two = speeds(y)
        return _CHANGE @ (rates * one * two)

    def jacobian(y: np.ndarray, _: float) -> np.ndarray:
        one, two = speeds(y)
        by = np.zeros((25, 21))
        by[_NUMBER, _FIRST] += rates * two
        by[_NUMBER, _SECOND] += rates * one
        return _CHANGE @ by[:, :20]

    with warnings.catch_warnings():
        warnings.simplefilter("error", ODEintWarning)
        try:
            found = odeint(
                slope, START, np.append(0.0, times), Dfun=jacobian, rtol=tolerance, atol=1e-12,
                mxstep=2000,
            )  # fmt: skip
        except ODEintWarning as error:
            raise ArithmeticError(str(error)) from error
    if not np.isfinite(found).all():
        raise ArithmeticError("the integrator found no finite concentrations")
    return found[1:]
