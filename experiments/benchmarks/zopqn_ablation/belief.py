"""What ZO-PQN believes of f around x: the quadratic, its doubt, and the secant pairs."""

import numpy as np

from experiments.benchmarks.zopqn_ablation.settings import Settings

EPS = float(np.finfo(float).eps)
TINY = float(np.finfo(float).tiny)
MODEL = (
    *("g", "P", "B", "V", "W", "T", "rho", "drift", "mode", "surprise"),
    *("seen", "seen_at"),
)
"""Attributes of the quadratic: g and B with the covariances P, V and T, and the metric W."""
PAIRS = ("C", "R", "theta", "evidence")
"""Attributes of the secant pairs, H = C / theta + R, and the evidence for them."""


class Belief:
    """The formulas of `tests/reference_zopqn.py`, by the letters of its attributes."""

    def __init__(self, x: np.ndarray, settings: Settings) -> None:
        """Nothing is known but x."""
        d = len(x)
        self.x, self.s = x.astype(float), settings
        self.value, self.start = np.inf, 0.0
        size = np.sqrt(np.mean(x**2)) if settings.own_units else 0.0
        self.unit = np.maximum(np.abs(x), size) if size > 0 else np.ones(d)
        self.g, self.W, self.seen = (np.zeros(d) for _ in range(3))
        self.P, self.B, self.V, self.seen_at = (np.zeros((d, d)) for _ in range(4))
        self.T = np.diag([settings.factor**2, settings.correlation**2])
        self.rho, self.drift, self.mode, self.surprise = 0.0, settings.factor**2, 0.0, 1.0
        self.forget_pairs()

    def error(self) -> float:
        """Absolute error of a value."""
        return 4 * EPS * max(abs(self.value), 1e-12 * self.start) + TINY

    def all_known(self) -> bool:
        """Whether every coordinate has been measured."""
        return bool((self.W > 0).all())

    # --- the quadratic ----------------------------------------------------------------------------

    def _modes(self, bent: np.ndarray, s: np.ndarray) -> np.ndarray:
        """M^1 s = B s and M^2 s, shape (2, d)."""
        root = np.sqrt(self.W)
        return np.array([bent, root * (root @ s) - self.W * s])

    def _shift(self, k: np.ndarray) -> None:
        if not k.any():
            return
        root = np.sqrt(self.W)
        self.B = (1 + k[0]) * self.B + k[1] * (np.outer(root, root) - np.diag(self.W))
        self.rho = self.rho * (1 + k[0]) + k[1]
        self.mode += k[0]

    def learn_coordinate(self, i: int, slope: float, curvature: float, least: float) -> None:
        """A coordinate seen for the first time; W is at least `least` there."""
        size = max(abs(curvature), self.s.smallest * self.W.max(), TINY, least)
        row = self.rho * np.sqrt(self.W) * np.sqrt(size)
        row[i] = curvature
        self.B[i, :] = self.B[:, i] = row
        self.V[i, :] = self.V[:, i] = 0
        self.V[i, i] = self.s.spread * size
        self.g[i] = self.seen[i] = slope
        self.W[i], self.seen_at[i] = size, self.x

    def learn_derivative(self, i: int, slope: float, noise: float) -> float | None:
        """An equation on row i of B, and one on g."""
        if np.isnan(slope):
            return None
        s = self.x - self.seen_at[i]
        v, a, bent = self.V @ s, self.V[:, i].copy(), self.B @ s
        m = self._modes(bent, s)[:, i]
        reach = s @ v
        own = (self.V[i, i] * reach + v[i] ** 2) / 2
        share = self.T @ m if self.s.factors_from_slopes else np.zeros(2)
        variance, squared = own + m @ share + 2 * noise, None
        if reach > 0:
            error = slope - self.seen[i] - bent[i]
            squared = min(error**2 / variance, self.s.most_surprising)
            if self.s.rows:
                rank = np.outer(a, v)
                self.B += (rank + rank.T) * (error / variance / 2)
            self._shift(share * error / variance)
            self.T -= np.outer(share, share) / variance
            if self.s.certain:
                part = min(1, 2 / len(s)) * own / variance
                self.V -= np.outer(v * (part / reach), v)
        gain = self.P[:, i] / (self.P[i, i] + noise)
        self.g = self.g + gain * (slope - self.g[i])
        self.P = self.P - np.outer(gain, self.P[i])
        self.seen[i], self.seen_at[i] = slope, self.x
        return squared

    def learn_gradient(self, slope: np.ndarray, noise: np.ndarray) -> list[float]:
        """A whole gradient, the last one whole as well."""
        s = self.x - self.seen_at[0]
        v = self.V @ s
        q = s @ v
        if not q > 0:
            return []
        rest = slope - self.seen - self.B @ s
        N = (q * self.V + np.outer(v, v)) / 2 + np.diag(2 * noise)
        N += 1e-12 * np.trace(N) / len(s) * np.eye(len(s))
        if self.s.factors_from_slopes:
            M = self._modes(self.B @ s, s)
            weighted = _solved(N, M.T)
            self.T = _inverse(_inverse(self.T + 1e-12 * np.eye(2)) + M @ weighted)
            k = self.T @ (weighted.T @ rest)
            rest = rest - k @ M
            self._shift(k)
        outer = np.outer(rest, v) / q
        self.B += outer + outer.T - (s @ rest) * np.outer(v, v) / q**2
        if self.s.certain:
            self.V = self.V - self.s.certain_by_pairs * np.outer(v, v) / q
        return [float(rest @ _solved(N, rest)) / len(s)]

    def learn_value(self, s: np.ndarray, change: float, common: bool, hessian: bool) -> None:
        """The value of a step, shared by g and, where they are to learn, B and the common modes."""
        v, pull, bent = self.V @ s, self.P @ s, self.B @ s
        m = self._modes(bent, s) @ s / 2 if common else np.zeros(2)
        share = self.T @ m
        variance = s @ pull + (s @ v) ** 2 / 4 * hessian + m @ share + 2 * self.error() ** 2
        if not variance > 0:
            return
        gain = (change - self.g @ s - s @ bent / 2) / variance
        self.g = self.g + gain * pull
        self.P = self.P - np.outer(pull, pull) / variance
        self.B = self.B + gain / 2 * np.outer(v, v) if hessian else self.B
        self.T = self.T - np.outer(share, share) / variance
        self._shift(gain * share)

    def move(self, s: np.ndarray) -> None:
        """The gradient follows B, and its doubt grows by what B leaves open."""
        v, M = self.V @ s, self._modes(self.B @ s, s)
        growth = ((s @ v) * self.V + np.outer(v, v)) / 2
        growth += M.T @ self.T @ M if self.s.doubted_modes else 0
        growth += self.s.curving**2 * (s @ (self.W * s)) * np.diag(self.W)
        P = self.P + growth
        self.g, self.P = self.g + M[0], (P + P.T) / 2

    def forget(self, squared: list[float], part: float) -> None:
        """V returns to its prior as far as it was surprised, T grows, and W follows B."""
        s = self.s
        if squared:
            mean = float(np.mean(squared))
            self.surprise = (1 - s.surprise_rate) * self.surprise + s.surprise_rate * mean
        rate = s.forget * part * (min(1, self.surprise) if s.forget_by_surprise else 1)
        self.B = (self.B + self.B.T) / 2
        self.V = self.V + rate * (np.diag(s.spread * self.W) - self.V)
        self.V = (self.V + self.V.T) / 2
        self.T[0, 0] += self.drift * part if s.drifting else 0
        learnt = s.drift_rate * part
        drift = (1 - learnt) * self.drift + learnt * min(self.mode**2, s.factor**2)
        self.drift, self.mode = max(drift, 1e-8 if s.factor > 0 else 0), 0.0
        diagonal = np.abs(np.diag(self.B))
        unit = np.maximum(self.unit, np.abs(self.x))
        scale = (self.W + diagonal) / 2 if s.renewed_scale else self.W
        scale = np.maximum(scale, np.abs(self.g) / (s.farthest * unit))
        self.W = np.maximum(np.maximum(scale, s.smallest * diagonal.max()), TINY)

    # --- secant pairs -----------------------------------------------------------------------------

    def forget_pairs(self) -> None:
        """Begin without a pair."""
        d = len(self.x)
        self.C, self.R, self.theta, self.evidence = np.eye(d), np.zeros((d, d)), 0.0, 0.0

    def learn_pair(self, s: np.ndarray, y: np.ndarray, noise: np.ndarray) -> None:
        """BFGS of the inverse in units, all pairs kept: H = C / theta + R."""
        if self.theta > 0:
            guesses = self.B @ s, self.product_by_pairs(s)
            off = [np.sqrt(np.sum((y - guess) ** 2 / self.W)) for guess in guesses]
            score = np.log(off[0] / off[1]) if min(off) > 0 else 0.0
            score = np.clip(np.nan_to_num(score), -self.s.most_certain, self.s.most_certain)
            rate = self.s.evidence_rate
            self.evidence = (1 - rate) * self.evidence + rate * float(score)
        s, y = s / self.unit, y * self.unit
        doubt = self.s.pair_doubt * np.sqrt(s**2 @ (2 * noise * self.unit**2))
        flattest = 1e-8 * np.linalg.norm(s) * np.linalg.norm(y)
        if s @ y > max(flattest, doubt):
            E = np.eye(len(s)) - np.outer(s, y) / (s @ y)
            self.C, self.R = E @ self.C @ E.T, E @ self.R @ E.T + np.outer(s, s) / (s @ y)
            if self.s.renewed_prior or not self.theta > 0:
                self.theta = float(np.linalg.norm(y) / np.linalg.norm(s))

    def inverse(self) -> np.ndarray:
        """The inverse Hessian by the pairs, in units."""
        H = self.C / self.theta + self.R
        return (H + H.T) / 2

    def product_by_pairs(self, s: np.ndarray) -> np.ndarray:
        """B s by the pairs."""
        return _solved(self.inverse(), s / self.unit) / self.unit


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution of a linear system; NaN where there is none, as JAX has it."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.full(right.shape, np.nan)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return _solved(matrix, np.eye(len(matrix)))
