"""Quadratic regression in NumPy, written from its formulas, for values that are all there."""

import numpy as np
from reference_least_squares import in_ball_and_box, kernel, regression

LENGTH = 100.0
EPS = np.finfo(float).eps


class Solver:
    """A run; `points` holds every point asked, in order. It ends where the model has no minimum."""

    def __init__(self, fun, x0, low=-np.inf, high=np.inf, noise=0.0):
        self.fun, self.noise, d = fun, noise, len(x0)
        self.low, self.high = np.broadcast_to(low, d), np.broadcast_to(high, d)
        width = (self.high - self.low) / 10
        self.width = np.where(np.isfinite(width), width, np.inf)
        self.both = (self.low < 0) & (self.high > 0) & np.isfinite(width)
        own = np.where(x0 != 0, np.abs(x0), 1.0)
        self.unit = np.where(self.both, self.width, np.minimum(own, self.width))
        self.points, self.xs, self.fs = [], [], []
        self.ask(np.array(x0))
        self.start = abs(self.fs[0])
        first = np.where(x0 + self.unit <= self.high, self.unit, -self.unit)
        for e in np.diag(first):
            self.ask(np.clip(x0 + e, self.low, self.high))
        lower = np.array(self.fs[1:]) < self.fs[0]
        for i in range(d):
            near, far = (2, 0.5) if lower[i] else (-1, 2)
            e = np.eye(d)[i] * first[i]
            inside = self.low[i] <= (x0 + near * e)[i] <= self.high[i]
            self.ask(np.clip(x0 + (near if inside else far) * e, self.low, self.high))
        self.hessian, self.sigma2, self.radius = np.zeros((d, d)), 0.0, 1.0
        self.kept = (d + 1) * (d + 2) // 2 + d + 4

    def ask(self, x):
        self.points.append(x)
        self.xs.append(x)
        self.fs.append(self.fun(x))

    def scale_at(self, x):
        own = np.minimum(np.maximum(np.abs(x), 0.1 * self.unit), self.width)
        own = np.where(self.both, self.unit, own)
        return np.sqrt(self.unit * np.maximum(own, self.unit))

    def step(self):
        """One value, and what is made of it; False where the model promises nothing."""
        best = int(np.argmin(self.fs))
        x, f, d = self.xs[best], self.fs[best], len(self.unit)
        scale = self.scale_at(x)
        z, y = (np.array(self.xs) - x) / scale, np.array(self.fs)
        before = self.hessian * np.outer(scale, scale)
        error = np.maximum(4 * EPS * np.maximum(np.abs(y), 1e-12 * self.start), self.noise)
        share = np.maximum(error**2 / self.sigma2, 1e-28) if self.sigma2 else 1e-28
        left = y - f - np.einsum("ni,ij,nj->n", z, before, z) / 2
        level, slope, weights, sigma2, _ = regression(z, left[:, None], share, LENGTH)
        slope, weights = slope[0], weights[:, 0]

        def model(p):
            curved = weights @ kernel(z @ p / LENGTH**2)[0]
            return level[0] + slope @ p + curved + p @ before @ p / 2

        def hessian(p):
            second = kernel(z @ p / LENGTH**2)[2]
            return (z.T * (weights * second)) @ z / LENGTH**4 + before

        p, box = np.zeros(d), ((self.low - x) / scale, (self.high - x) / scale)
        lowest, damping, ended = model(p), 0.0, False
        while not ended:  # Newton's method, damped where a move gains nothing
            first = kernel(z @ p / LENGTH**2)[1]
            push, curve = slope + (weights * first) @ z / LENGTH**2 + before @ p, hessian(p)
            curve = curve + damping * np.abs(curve).trace() * np.eye(d)
            new = in_ball_and_box(push, curve, p, self.radius, *box)
            gain, moved = lowest - model(new), np.linalg.norm(new - p)
            if gain > 0:
                p, lowest = new, model(new)
                damping = damping / 10 if damping > 1e-10 else 0.0
                ended = gain < 1e-2 * (level[0] - lowest)
            else:
                damping, ended = max(10 * damping, 1e-10), moved < 1e-12 * self.radius
        length, decrease = np.linalg.norm(p), level[0] - lowest
        if not (decrease > 0 and length > 1e-3 * self.radius):
            return False
        self.sigma2 = sigma2 or self.sigma2
        self.hessian = hessian(p) / np.outer(scale, scale)
        self.ask(np.clip(x + p * scale, self.low, self.high))
        ratio = (f - self.fs[-1]) / decrease
        if ratio > 0.7:
            self.radius = max(self.radius, 2 * length)
        elif ratio < 0.1:
            near = np.linalg.norm((np.array(self.xs) - x) / scale, axis=1) <= 2.5 * length
            if near.sum() > d:  # what far points made is not to blame on the radius
                self.radius = 0.5 * length
        now = self.xs[int(np.argmin(self.fs))]
        self.radius *= np.linalg.norm(p * scale / self.scale_at(now)) / length
        far = np.linalg.norm((np.array(self.xs) - now) / self.scale_at(now), axis=1)
        nearest = np.sort(np.argsort(far, kind="stable")[: self.kept])
        self.xs, self.fs = [self.xs[i] for i in nearest], [self.fs[i] for i in nearest]
        return True
