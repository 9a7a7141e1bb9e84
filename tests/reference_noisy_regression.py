"""Noisy regression in NumPy, written from its formulas: a run that is told points and values.

The designs are the library's (they are random); all that follows from their values is not.
"""

import numpy as np
from reference_least_squares import in_ball_and_box, kernel
from scipy.optimize import brentq

EPS = np.finfo(float).eps
JITTER = EPS**0.7


class Model:
    """The regression of y at z for given s and L; `likely` up to a constant."""

    def __init__(self, z, y, variance, tau, s, length):
        n = len(z)
        self.z, self.s, self.length, self.tau = z, s, length, tau
        self.half = np.sum(z**2, axis=1) / 2
        covariance = self.covariance(z) + np.diag(variance)
        covariance += JITTER * np.diag(np.diag(covariance))
        design = np.column_stack([np.ones(n), z])
        inverse = np.linalg.inv(covariance)
        left = y - tau * self.half
        information = design.T @ inverse @ design
        self.slopes = np.linalg.solve(information, design.T @ inverse @ left)
        self.scatter = np.linalg.inv(information)[1:, 1:].trace()
        rest = left - design @ self.slopes
        self.weights = inverse @ rest
        determinants = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
        self.likely = -(rest @ self.weights + determinants) / 2

    def covariance(self, w):
        w = np.atleast_2d(w)
        curved = self.s * self.length**4 * kernel(w @ self.z.T / self.length**2)[0]
        return curved + (3 * self.tau) ** 2 * np.outer(np.sum(w**2, axis=1) / 2, self.half)

    def __call__(self, p):
        p = np.asarray(p)
        return (
            self.slopes[0]
            + self.slopes[1:] @ p
            + self.tau * (p @ p) / 2
            + (self.covariance(p) @ self.weights)[0]
        )

    def newton(self, p):
        _, first, second = kernel(self.z @ p / self.length**2)
        w = self.s * self.length**4 * self.weights
        bend = self.tau + (3 * self.tau) ** 2 * (self.half @ self.weights)
        gradient = self.slopes[1:] + bend * p + (w * first) @ self.z / self.length**2
        hessian = (self.z.T * (w * second)) @ self.z / self.length**4 + bend * np.eye(len(p))
        return gradient, hessian, bend


class Run:
    """What has been told so far, and what follows."""

    def __init__(self, points, values, noise, low=-np.inf, high=np.inf):
        """After the 2 d + 1 first points, x0 the first of them; noise is the noise of a value."""
        self.points, self.values = np.array(points), np.array(values)
        x0, d = self.points[0], self.points.shape[1]
        self.low, self.high = np.broadcast_to(low, d), np.broadcast_to(high, d)
        self.bounded = np.isfinite(self.high - self.low).any()
        width = (self.high - self.low) / 10
        own = np.where(x0 != 0, np.abs(x0), 1.0)
        crosses = (self.low < 0) & (self.high > 0) & np.isfinite(width)
        inside = np.minimum(own, np.where(np.isfinite(width), width, np.inf))
        self.unit = np.where(crosses, width, inside)
        self.start, self.tau = abs(self.values[0]), noise
        rise = np.minimum(self.values - self.values[0], self.cap(self.values[0]))
        size = np.zeros(d)
        for i in range(d):
            a = (self.points[1 + i] - x0)[i] / self.unit[i]
            b = (self.points[1 + d + i] - x0)[i] / self.unit[i]
            curvature = 2 * (rise[1 + d + i] / b - rise[1 + i] / a) / (b - a)
            size[i] = np.sqrt(self.tau / max(abs(curvature), self.tau))
        self.metric = np.diag(size)
        best = int(np.argmin(self.values))
        self.centre, self.level = self.points[best], self.values[best]
        self.radius = np.sqrt(np.mean(size**-2.0))
        self.s = self.length = self.reach = None
        self.plan()

    def kept(self, number):
        """Whether each is kept: half are the nearest, half those that tell most of the slope."""
        far = np.linalg.norm(self.z(), axis=1)
        q = far**2 / self.length**2
        variance = self.tau**2 + self.s * self.length**4 * (q**3 / 6 + q**4 / 24)
        near = far < np.sort(far)[number // 2]
        told = np.where(near, np.inf, far**2 / variance)
        return told >= np.sort(told)[-number]

    def z(self, points=None):
        """z of points."""
        points = self.points if points is None else points
        return np.linalg.solve(self.metric, ((points - self.centre) / self.unit).T).T

    def cap(self, level):
        far = np.sort(np.abs(self.values - level))
        return 1e3 * max(self.tau, far[(len(far) - 1) // 2])

    def model(self, s, length):
        y, cap = self.values - self.level, self.cap(self.level)
        over = y > cap
        error = 4 * EPS * np.maximum(np.where(over, 0, np.abs(self.values)), 1e-12 * self.start)
        variance = self.tau**2 + error**2 + np.where(over, (0.3 * cap) ** 2, 0)
        return Model(self.z(), np.minimum(y, cap), variance, self.tau, s, length)

    def plan(self):
        """s and L, the model's minimum and the half-width of the next design."""
        far = np.sort(np.linalg.norm(self.z(), axis=1))
        middle = far[(len(far) - 1) // 2]
        reach = self.reach or middle
        s, length = self.s or self.tau**2, self.length or 3 * middle
        best = None
        for a, b in ((1, 1), (3, 1), (1 / 3, 1), (1, 1.5), (1, 1 / 1.5)):
            model = self.model(s * a, length * b)
            prior = (np.log(s * a / self.tau**2) / 4) ** 2
            prior += (np.log(length * b / (3 * reach)) / 1.5) ** 2
            if best is None or model.likely - prior / 2 > best[0]:
                best = model.likely - prior / 2, model
        self.fit = best[1]
        self.s, self.length = self.fit.s, self.fit.length
        self.step, self.decrease = self.lowest(self.fit)
        _, hessian, bend = self.fit.newton(self.step)
        bent = np.median(np.abs(np.linalg.eigvalsh(hessian)))
        bent = max(bent, abs(bend), 1e-3 * self.tau)

        def beyond(t):
            q = np.exp(2 * t) / self.length**2
            return np.log(self.s * self.length**4 * (q**3 / 6 + q**4 / 24) / self.tau**2)

        middle = np.log(self.length)
        wanted = np.exp(brentq(beyond, middle - 30, middle + 30, xtol=1e-13))
        wanted = min(wanted, np.sqrt(200 * self.tau / bent))
        before = self.reach or self.radius
        self.reach = min(np.clip(wanted, before / 1.5, before * 1.5), self.radius)

    def lowest(self, model):
        """Newton's method, damped where a move gains nothing, and its decrease."""
        d = len(self.unit)
        low, high = np.full(d, -np.inf), np.full(d, np.inf)
        if self.bounded:
            unit = self.unit * np.diag(self.metric)
            low, high = (self.low - self.centre) / unit, (self.high - self.centre) / unit
        p, damping, ended, turns = np.zeros(d), 0.0, False, 0
        start = least = model(p)
        while not ended and turns < 40:
            turns += 1
            gradient, hessian, _ = model.newton(p)
            hessian = hessian + damping * np.abs(hessian).trace() * np.eye(d)
            new = in_ball_and_box(gradient, hessian, p, self.radius, low, high)
            gain, moved = least - model(new), np.linalg.norm(new - p)
            if gain > 0:
                p, least = new, model(new)
                damping = damping / 10 if damping > 1e-10 else 0.0
                ended = gain < 1e-2 * (start - least)
            else:
                damping, ended = max(10 * damping, 1e-10), moved < 1e-12 * self.radius
        return p, start - least

    def tell(self, points, values):
        """A design, and what is made of it."""
        points, values = np.array(points), np.array(values)
        predicted = np.array([self.fit(p) for p in self.z(points)])
        above = np.mean(values - self.level - predicted)
        wrong = not above <= 0.5 * self.decrease + 3 * self.tau / np.sqrt(len(points))
        self.points = np.vstack([self.points, points])
        self.values = np.append(self.values, values)
        model = self.model(self.s, self.length)
        there = model(self.step)
        moves = model(np.zeros(len(self.step))) - there > -0.1 * self.decrease and not wrong
        step = self.step if moves else 0 * self.step
        narrow = 0.5 * min(self.radius, max(np.linalg.norm(self.step), self.reach))
        self.radius = narrow if wrong else min(2 * self.reach, 2 * self.radius)
        moved = self.centre + self.unit * (self.metric @ step)
        self.centre = np.clip(moved, self.low, self.high)
        self.level += there if moves else 0
        hessian, d = model.newton(step)[1], len(step)
        if self.bounded:
            hessian = np.diag(np.diag(hessian))
        size, turn = np.linalg.eigh((hessian + hessian.T) / 2)
        power = min(1, 3 * len(points) / ((d + 1) * (d + 2) / 2)) / 2
        factor = np.clip(np.abs(size) / self.tau, 0.03, 100) ** -power
        self.metric = self.metric @ (turn * factor) @ turn.T
        scale = np.exp(-np.mean(np.log(factor)))
        self.radius, self.reach = self.radius * scale, self.reach * scale
        self.length, self.s = self.length * scale, self.s / scale**4
        self.plan()
