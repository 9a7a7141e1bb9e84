"""ZO-PQN in NumPy float64, from the formulas alone: loops, dense matrices and eigh.

Nothing of the library or of JAX is used. The order in which coordinates are met comes from outside.
Objectives here have all their values.
"""

import numpy as np

SPREAD, COMMON = 0.3, 0.3
FEW = 8  # derivatives of a batch, where that is well below d
LIVING = 8  # values a coordinate after which whole gradients and secant pairs take over


class Reference:
    """A run: `points` where it stood before each stage, and the `kinds` of the stages."""

    def __init__(self, f, x, order, noise, radius=0.1):
        """Begin at x; nothing is evaluated yet."""
        d = len(x)
        self.f, self.x, self.order, self.noise, self.length = f, x.copy(), order, noise, radius
        self.value, self.trust, self.kind, self.few = None, None, "base", 0.6 * d > FEW
        size = np.sqrt(np.mean(x**2))
        self.unit = np.maximum(np.abs(x), size) if size > 0 else np.ones(d)
        self.g, self.W, self.seen = np.zeros(d), np.zeros(d), np.zeros(d)
        self.P, self.B, self.V, self.seen_at = (np.zeros((d, d)) for _ in range(4))
        self.rho, self.T, self.surprise = 0.0, COMMON**2, 1.0
        self.points, self.kinds, self.values = [], [], 0
        self.along, self.living = np.zeros(d), LIVING * d if self.few else 0
        self.C, self.R, self.theta, self.reach = np.eye(d), np.zeros((d, d)), 0.0, np.inf

    def ask(self, x):
        self.values += 1
        return float(self.f(x))

    def step(self):
        self.points.append(self.x.copy())
        self.kinds.append(self.kind)
        self.spent = self.values
        if self.kind == "base":
            self.value = self.ask(self.x)
            self.start, self.kind = abs(self.value), "meet"
        elif self.kind == "try":
            self.try_step()
        else:
            self.look()
            self.kind = "try"

    def error(self):
        return self.noise * max(abs(self.value), 1e-12 * self.start)

    def common(self):
        root = np.sqrt(self.W)
        return np.outer(root, root) - np.diag(self.W)

    def worth(self):
        b = np.diag(self.B)
        return np.diag(self.P) / (2 * np.where(b > 0, b, self.W))

    # --- looks ------------------------------------------------------------------------------------

    def look(self):
        d = len(self.x)
        if self.kind == "meet":
            count = d if d <= 4 else min((4, 5, 3), key=lambda e: -d % e)
            met = int((self.W > 0).sum())
            begin = min(met, d - count)
            for place in range(begin, begin + count):
                self.meet(self.order[place], new=place >= met)
            return
        count = d if self.kind == "whole" else self.kind
        chosen = np.argsort(-self.worth(), kind="stable")[:count]
        curvature = np.maximum(self.W, np.abs(np.diag(self.B)))
        h = 2 * np.sqrt(self.error() / curvature)
        h = np.maximum(h, np.sqrt(np.finfo(float).eps) * np.abs(self.x))
        h = (self.x + h) - self.x
        slope, noise = np.zeros(d), (self.error() / h) ** 2
        for i in chosen:
            ahead = self.ask(self.x + np.eye(d)[i] * h[i])
            slope[i] = (ahead - self.value) / h[i] - h[i] / 2 * self.B[i, i]
        if count == d and self.over() and (self.seen_at == self.seen_at[0]).all():
            self.pair(self.x - self.seen_at[0], slope - self.seen)
        squared = [self.row(i, slope[i], noise[i]) for i in chosen]
        if count == d:
            self.g, self.P = slope.copy(), np.zeros((d, d))
            self.seen, self.seen_at = slope.copy(), np.tile(self.x, (d, 1))
        self.forget([z for z in squared if z is not None], count / d)

    def meet(self, i, new):
        h = self.length * self.unit[i]
        e = np.eye(len(self.x))[i] * ((self.x[i] + h) - self.x[i])
        ahead, behind = self.ask(self.x + e) - self.value, self.ask(self.x - e) - self.value
        if not new:
            return
        slope, curvature = (ahead - behind) / (2 * e[i]), (ahead + behind) / e[i] ** 2
        size = max(abs(curvature), 1e-3 * self.W.max(), 4 * self.error() / e[i] ** 2)
        size = max(size, abs(slope) / (100 * self.unit[i]))
        row = self.rho * np.sqrt(self.W * size)
        row[i] = curvature
        self.B[i, :] = self.B[:, i] = row
        self.V[i, :] = self.V[:, i] = 0
        self.V[i, i] = SPREAD * size
        self.g[i] = self.seen[i] = slope
        self.W[i], self.seen_at[i] = size, self.x

    def row(self, i, slope, noise):
        s = self.x - self.seen_at[i]
        v, a = self.V @ s, self.V[:, i].copy()
        m = self.common()[i] @ s
        own = (self.V[i, i] * (s @ v) + v[i] ** 2) / 2
        variance, squared = own + self.T * m**2 + 2 * noise, None
        if s @ v > 0:
            error = slope - self.seen[i] - self.B[i] @ s
            squared = error**2 / variance
            self.B += (np.outer(a, v) + np.outer(v, a)) / 2 * error / variance
            self.correlate(self.T * m, error, variance)
            part = min(1, 2 / len(s)) * own / variance
            self.V -= part * np.outer(v, v) / (s @ v)
        gain = self.P[:, i] / (self.P[i, i] + noise)
        self.g = self.g + gain * (slope - self.g[i])
        self.P = self.P - np.outer(gain, self.P[i])
        self.seen[i], self.seen_at[i] = slope, self.x
        return squared

    def correlate(self, share, error, variance):
        """The common correlation, of covariance `share` with what was off by `error`."""
        self.B += share * error / variance * self.common()
        self.rho += share * error / variance
        self.T -= share**2 / variance

    def over(self, next_step=False):
        """Whether the gradient no longer lives on: whole ones are measured, and pairs kept."""
        spent = self.values if next_step else self.spent
        return (self.W > 0).all() and spent >= self.living

    def pair(self, s, y):
        """BFGS of the inverse in units, all pairs kept: H = C / theta + R."""
        s, y = s / self.unit, y * self.unit
        if s @ y > 1e-8 * np.linalg.norm(s) * np.linalg.norm(y):
            E = np.eye(len(s)) - np.outer(s, y) / (s @ y)
            self.C, self.R = E @ self.C @ E.T, E @ self.R @ E.T + np.outer(s, s) / (s @ y)
            self.theta = np.linalg.norm(y) / np.linalg.norm(s)

    def forget(self, squared, part):
        if squared:
            self.surprise = 0.7 * self.surprise + 0.3 * np.mean(squared)
        rate = 0.3 * min(1, self.surprise) * part
        self.V = self.V + rate * (np.diag(SPREAD * self.W) - self.V)
        diagonal = np.abs(np.diag(self.B))
        unit = np.maximum(self.unit, np.abs(self.x))
        W = (self.W + diagonal) / 2
        self.W = np.maximum(np.maximum(W, 1e-3 * W.max()), np.abs(self.g) / (100 * unit))

    # --- trials -----------------------------------------------------------------------------------

    def by_pairs(self):
        return self.over() and self.theta > 0

    def solved(self):
        """Step and decrease of the model, or of the secant pairs, within the trust region."""
        if self.by_pairs():
            mu, Q = np.linalg.eigh(self.C / self.theta + self.R)
            mu = np.maximum(mu, np.finfo(float).eps * mu.max())
            return self.within(1 / mu[::-1], Q[:, ::-1], 1 / self.unit, self.reach)
        there = self.W > 0
        root = np.sqrt(np.where(there, self.W, 1))
        scaled = np.where(np.outer(there, there), self.B / np.outer(root, root), 0)
        w, Q = np.linalg.eigh(scaled + np.diag(1.0 * ~there))
        return self.within(w, Q, root, self.trust)

    def within(self, w, Q, root, radius):
        a, eps = Q.T @ (self.g / root), np.finfo(float).eps
        largest, lowest = np.abs(w).max(), max(0, -w[0])
        damping = 0 if w[0] > 10 * eps * largest else lowest + 100 * eps * largest
        if np.linalg.norm(a / (w + damping)) > radius:
            low, high = damping, lowest + np.linalg.norm(a) / radius
            for _ in range(50):
                middle = (low + high) / 2
                if np.linalg.norm(a / (w + middle)) > radius:
                    low = middle
                else:
                    high = middle
            damping = high
        p = -a / (w + damping)
        return Q @ p / root, -(a @ p + p @ (w * p) / 2)

    def try_step(self):
        if self.trust is None:
            self.trust = 2 * np.sqrt((self.W * self.unit**2).max())
        along, self.along = self.along, np.zeros(len(self.x))
        s, decrease = (along, np.inf) if along.any() else self.solved()
        value, slope = self.ask(self.x + s), self.g @ s
        change, length = value - self.value, np.sqrt(s @ (self.W * s))
        ratio, reached = -change / decrease, length > 0.99 * self.trust
        if along.any() or self.by_pairs():
            if not along.any():
                self.line(s, slope, change, ratio)
        elif ratio > 0.75:
            self.trust = max(self.trust, 2 * length)
        elif ratio < 0.25:
            self.trust = 0.4 * length
        if change <= 100 * (abs(slope) + self.error()):
            self.learn_value(s, change)
        better = change < 0
        if better:
            self.move(s)
            self.x, self.value = self.x + s, value
        self.choose(better or along.any(), (ratio > 0.9 and reached) or ratio > 1.5)

    def line(self, s, slope, change, ratio):
        """The trust region of the pairs, and whether the parabola along s ends elsewhere."""
        length, bend = np.linalg.norm(s / self.unit), change - slope
        best = -slope / (2 * bend) if bend > 0 else np.inf
        if ratio > 0.75:
            self.reach = max(self.reach, 2 * length)
        elif ratio < 0.25:
            self.reach = np.clip(best, 0.1, 0.5) * length if bend > 0 else 0.4 * length
        best = np.clip(best, 0.1, 3)
        if change < 0 and abs(best - 1) > 0.3:
            self.along = (best - 1) * s

    def learn_value(self, s, change):
        v, pull = self.V @ s, self.P @ s
        m = s @ self.common() @ s / 2 if (self.W == 0).any() else 0
        variance = s @ pull + (s @ v) ** 2 / 4 + self.T * m**2 + 2 * self.error() ** 2
        error = change - self.g @ s - s @ self.B @ s / 2
        self.g = self.g + error / variance * pull
        self.P = self.P - np.outer(pull, pull) / variance
        self.B = self.B + error / variance / 2 * np.outer(v, v)
        self.correlate(self.T * m, error, variance)

    def move(self, s):
        v = self.V @ s
        self.g = self.g + self.B @ s
        self.P = self.P + ((s @ v) * self.V + np.outer(v, v)) / 2

    def choose(self, better, farther):
        if (self.W == 0).any():
            self.kind = "meet"
        elif self.over(next_step=True):
            self.kind = "try" if self.along.any() or not better else "whole"
        else:
            _, promise = self.solved()
            rates = {FEW: (np.sort(self.worth())[-FEW:].sum() + promise) / (FEW + 1)}
            if farther or not better:
                rates["try"] = promise
            self.kind = max(rates, key=rates.__getitem__)
