"""The least-squares problems of Moré, Garbow and Hillstrom, at their standard starts.

Testing Unconstrained Optimization Software, ACM TOMS 7(1), 1981; the numbers are the paper's.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Residuals = Callable[[np.ndarray], np.ndarray]


class Problem(NamedTuple):
    """A problem: its name, its residuals, and its standard start, shape (d,)."""

    name: str
    residuals: Residuals
    start: np.ndarray


def _rosenbrock(x: np.ndarray) -> np.ndarray:  # 1, and 21 in more dimensions
    return np.stack([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]], 1).ravel()


def _freudenstein_roth(x: np.ndarray) -> np.ndarray:  # 2
    a, b = x
    return np.array([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def _powell_badly_scaled(x: np.ndarray) -> np.ndarray:  # 3
    return np.array([1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001])


def _brown_badly_scaled(x: np.ndarray) -> np.ndarray:  # 4
    return np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def _beale(x: np.ndarray) -> np.ndarray:  # 5
    return np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** np.arange(1, 4))


def _jennrich_sampson(x: np.ndarray) -> np.ndarray:  # 6
    i = np.arange(1, 11)
    return 2 + 2 * i - np.exp(i * x[0]) - np.exp(i * x[1])


def _helical_valley(x: np.ndarray) -> np.ndarray:  # 7
    turn = np.arctan2(x[1], x[0]) / (2 * np.pi)
    turn += turn < -0.25  # the paper's arctan(x2 / x1) / 2 pi, plus a half where x1 < 0
    return np.array([10 * (x[2] - 10 * turn), 10 * (np.hypot(x[0], x[1]) - 1), x[2]])


_BARD = np.array([14, 18, 22, 25, 29, 32, 35, 39, 37, 58, 73, 96, 134, 210, 439]) / 100


def _bard(x: np.ndarray) -> np.ndarray:  # 8
    u = np.arange(1.0, 16)
    return _BARD - (x[0] + u / ((16 - u) * x[1] + np.minimum(u, 16 - u) * x[2]))


_HALF = np.array([0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521])
_GAUSSIAN = np.concatenate([_HALF, [0.3989], _HALF[::-1]])


def _gaussian(x: np.ndarray) -> np.ndarray:  # 9
    t = (8 - np.arange(1, 16)) / 2
    return x[0] * np.exp(-x[1] * (t - x[2]) ** 2 / 2) - _GAUSSIAN


_MEYER = np.array(
    [
        34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820,
        3307, 2872,
    ]
)  # fmt: skip


def _meyer(x: np.ndarray) -> np.ndarray:  # 10
    return x[0] * np.exp(x[1] / (45 + 5 * np.arange(1, 17) + x[2])) - _MEYER


def _gulf(x: np.ndarray) -> np.ndarray:  # 11
    t = np.arange(1, 100) / 100
    y = 25 + (-50 * np.log(t)) ** (2 / 3)
    return np.exp(-(np.abs(y - x[1]) ** x[2]) / x[0]) - t


def _box(x: np.ndarray) -> np.ndarray:  # 12
    t = np.arange(1, 11) / 10
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


def _powell_singular(x: np.ndarray) -> np.ndarray:  # 13, and 22 in more dimensions
    a, b, c, d = x.reshape(-1, 4).T
    parts = [a + 10 * b, np.sqrt(5) * (c - d), (b - 2 * c) ** 2, np.sqrt(10) * (a - d) ** 2]
    return np.stack(parts, 1).ravel()


def _wood(x: np.ndarray) -> np.ndarray:  # 14
    a, b, c, d = x
    first = [10 * (b - a**2), 1 - a, np.sqrt(90) * (d - c**2), 1 - c]
    return np.array([*first, np.sqrt(10) * (b + d - 2), (b - d) / np.sqrt(10)])


_KOWALIK = np.array(
    [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
)
_KOWALIK_AT = 1 / np.array([0.25, 0.5, 1, 2, 4, 6, 8, 10, 12, 14, 16])


def _kowalik_osborne(x: np.ndarray) -> np.ndarray:  # 15
    u = _KOWALIK_AT
    return _KOWALIK - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def _brown_dennis(x: np.ndarray) -> np.ndarray:  # 16
    t = np.arange(1, 21) / 5
    first = (x[0] + t * x[1] - np.exp(t)) ** 2
    return first + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


_OSBORNE_1 = np.array(
    [
        844, 908, 932, 936, 925, 908, 881, 850, 818, 784, 751, 718, 685, 658, 628, 603, 580, 558,
        538, 522, 506, 490, 478, 467, 457, 448, 438, 431, 424, 420, 414, 411, 406,
    ]
) / 1000  # fmt: skip


def _osborne_1(x: np.ndarray) -> np.ndarray:  # 17
    t = 10 * np.arange(33)
    return _OSBORNE_1 - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4]))


def _biggs(x: np.ndarray) -> np.ndarray:  # 18
    t = np.arange(1, 14) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


_OSBORNE_2 = np.array(
    [
        1366, 1191, 1112, 1013, 991, 885, 831, 847, 786, 725, 746, 679, 608, 655, 616, 606, 602,
        626, 651, 724, 649, 649, 694, 644, 624, 661, 612, 558, 533, 495, 500, 423, 395, 375, 372,
        391, 396, 405, 428, 429, 523, 562, 607, 653, 672, 708, 633, 668, 645, 632, 591, 559, 597,
        625, 739, 710, 729, 720, 636, 581, 428, 292, 162, 98, 54,
    ]
) / 1000  # fmt: skip


def _osborne_2(x: np.ndarray) -> np.ndarray:  # 19
    t = np.arange(65) / 10
    peaks = x[1:4] @ np.exp(-x[5:8, None] * (t - x[8:, None]) ** 2)
    return _OSBORNE_2 - (x[0] * np.exp(-t * x[4]) + peaks)


def _watson(x: np.ndarray) -> np.ndarray:  # 20
    t = np.arange(1, 30)[:, None] / 29
    j = np.arange(len(x))
    slope = (j[1:] * x[1:] * t ** j[:-1]).sum(1)
    value = (x * t**j).sum(1)
    return np.concatenate([slope - value**2 - 1, [x[0], x[1] - x[0] ** 2 - 1]])


def _penalty_1(x: np.ndarray) -> np.ndarray:  # 23
    return np.append(np.sqrt(1e-5) * (x - 1), x @ x - 0.25)


def _penalty_2(x: np.ndarray) -> np.ndarray:  # 24
    d, root = len(x), np.sqrt(1e-5)
    i = np.arange(2, d + 1)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    pairs = root * (np.exp(x[1:] / 10) + np.exp(x[:-1] / 10) - y)
    single = root * (np.exp(x[1:] / 10) - np.exp(-0.1))
    last = np.sum((d - np.arange(d)) * x**2) - 1
    return np.concatenate([[x[0] - 0.2], pairs, single, [last]])


def _variably_dimensioned(x: np.ndarray) -> np.ndarray:  # 25
    s = np.arange(1, len(x) + 1) @ (x - 1)
    return np.concatenate([x - 1, [s, s**2]])


def _trigonometric(x: np.ndarray) -> np.ndarray:  # 26
    d = len(x)
    return d - np.cos(x).sum() + np.arange(1, d + 1) * (1 - np.cos(x)) - np.sin(x)


def _brown_almost_linear(x: np.ndarray) -> np.ndarray:  # 27
    return np.append(x[:-1] + x.sum() - (len(x) + 1), np.prod(x) - 1)


def _grid(d: int) -> tuple[float, np.ndarray]:
    h = 1 / (d + 1)
    return h, h * np.arange(1, d + 1)


def _discrete_boundary_value(x: np.ndarray) -> np.ndarray:  # 28
    h, t = _grid(len(x))
    around = np.concatenate([[0], x, [0]])
    return 2 * x - around[:-2] - around[2:] + h**2 * (x + t + 1) ** 3 / 2


def _discrete_integral_equation(x: np.ndarray) -> np.ndarray:  # 29
    h, t = _grid(len(x))
    cube = (x + t + 1) ** 3
    after = (1 - t) * cube
    rest = after.sum() - np.cumsum(after)
    return x + h * ((1 - t) * np.cumsum(t * cube) + t * rest) / 2


def _broyden_tridiagonal(x: np.ndarray) -> np.ndarray:  # 30
    around = np.concatenate([[0], x, [0]])
    return (3 - 2 * x) * x - around[:-2] - 2 * around[2:] + 1


def _broyden_banded(x: np.ndarray) -> np.ndarray:  # 31
    d = len(x)
    i, j = np.indices((d, d))
    band = (j != i) & (j >= i - 5) & (j <= i + 1)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


_ROWS = 20  # of the linear problems in ten dimensions


def _linear_full_rank(x: np.ndarray) -> np.ndarray:  # 32
    return np.append(x, np.zeros(_ROWS - len(x))) - 2 * x.sum() / _ROWS - 1


def _linear_rank_one(x: np.ndarray) -> np.ndarray:  # 33
    return np.arange(1, _ROWS + 1) * (np.arange(1, len(x) + 1) @ x) - 1


def _linear_rank_one_with_zeros(x: np.ndarray) -> np.ndarray:  # 34
    s = np.arange(2, len(x)) @ x[1:-1]
    return np.concatenate([[-1], np.arange(1, _ROWS - 1) * s - 1, [-1]])


def _chebyquad(x: np.ndarray) -> np.ndarray:  # 35
    order = np.arange(1, len(x) + 1)
    means = np.polynomial.chebyshev.chebvander(2 * x - 1, len(x))[:, 1:].mean(0)
    integrals = np.where(order % 2 == 0, -1 / np.maximum(order**2 - 1, 1), 0)
    return means - integrals


_OSBORNE_2_START = [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5]
_STARTS: list[tuple[str, Residuals, object]] = [
    ("Rosenbrock", _rosenbrock, [-1.2, 1]),
    ("Freudenstein and Roth", _freudenstein_roth, [0.5, -2]),
    ("Powell badly scaled", _powell_badly_scaled, [0, 1]),
    ("Brown badly scaled", _brown_badly_scaled, [1, 1]),
    ("Beale", _beale, [1, 1]),
    ("Jennrich and Sampson", _jennrich_sampson, [0.3, 0.4]),
    ("helical valley", _helical_valley, [-1, 0, 0]),
    ("Bard", _bard, [1, 1, 1]),
    ("Gaussian", _gaussian, [0.4, 1, 0]),
    ("Meyer", _meyer, [0.02, 4000, 250]),
    ("Gulf research", _gulf, [5, 2.5, 0.15]),
    ("Box three-dimensional", _box, [0, 10, 20]),
    ("Powell singular", _powell_singular, [3, -1, 0, 1]),
    ("Wood", _wood, [-3, -1, -3, -1]),
    ("Kowalik and Osborne", _kowalik_osborne, [0.25, 0.39, 0.415, 0.39]),
    ("Brown and Dennis", _brown_dennis, [25, 5, -5, -1]),
    ("Osborne 1", _osborne_1, [0.5, 1.5, -1, 0.01, 0.02]),
    ("Biggs EXP6", _biggs, [1, 2, 1, 1, 1, 1]),
    ("Osborne 2", _osborne_2, _OSBORNE_2_START),
    ("Watson 6", _watson, np.zeros(6)),
    ("Watson 9", _watson, np.zeros(9)),
    ("extended Rosenbrock 10", _rosenbrock, np.tile([-1.2, 1], 5)),
    ("extended Powell singular 12", _powell_singular, np.tile([3, -1, 0, 1], 3)),
    ("penalty I 10", _penalty_1, np.arange(1, 11)),
    ("penalty II 10", _penalty_2, np.full(10, 0.5)),
    ("variably dimensioned 10", _variably_dimensioned, 1 - np.arange(1, 11) / 10),
    ("trigonometric 10", _trigonometric, np.full(10, 0.1)),
    ("Brown almost linear 10", _brown_almost_linear, np.full(10, 0.5)),
    ("discrete boundary value 10", _discrete_boundary_value, _grid(10)[1] * (_grid(10)[1] - 1)),
    ("discrete integral 10", _discrete_integral_equation, _grid(10)[1] * (_grid(10)[1] - 1)),
    ("Broyden tridiagonal 10", _broyden_tridiagonal, np.full(10, -1)),
    ("Broyden banded 10", _broyden_banded, np.full(10, -1)),
    ("linear, full rank 10", _linear_full_rank, np.ones(10)),
    ("linear, rank one 10", _linear_rank_one, np.ones(10)),
    ("linear, rank one with zeros 10", _linear_rank_one_with_zeros, np.ones(10)),
    ("Chebyquad 8", _chebyquad, np.arange(1, 9) / 9),
]
PROBLEMS = tuple(Problem(name, fun, np.array(start, float)) for name, fun, start in _STARTS)
"""All of them, in the paper's order."""
