"""The least-squares solver in NumPy, written from its formulas; exact residuals, or known noise.

One loop, lists of points, SciPy's root finder: nothing of it is shared with the library.
"""

import numpy as np
from scipy.optimize import brentq

LENGTH, JITTER = 4.0, np.finfo(float).eps ** 0.7


def kernel(q):
    """k, k', k''."""
    return q**2 / 2 + q**3 / 6 + q**4 / 24, q + q**2 / 2 + q**3 / 6, 1 + q + q**2 / 2


def regression(z, y, share, length=LENGTH):
    """r0, J, weights, sigma^2 and influence, by generalised least squares and its residuals."""
    n, d = z.shape
    covariance = kernel(z @ z.T / length**2)[0]
    scale = 1 / np.sqrt(np.diag(covariance) + share)
    correlation = covariance * np.outer(scale, scale)
    np.fill_diagonal(correlation, 1 + JITTER)
    root = np.linalg.cholesky(correlation)
    white = np.linalg.solve(root, np.diag(scale))
    design = white @ np.column_stack([np.ones(n), z])
    size = np.linalg.norm(design, axis=0)
    stacked = np.vstack([design / size, JITTER * np.eye(d + 1)])
    influence = (np.linalg.pinv(stacked)[:, :n] @ white) / size[:, None]
    basis = np.linalg.qr(stacked)[0][:n]
    rest = white @ y - basis @ (basis.T @ (white @ y))
    freedom = n - d - 1
    sigma2 = np.sum(rest**2) / (y.shape[1] * freedom) if freedom > 0 else 0.0
    slopes = influence @ y
    return slopes[0], slopes[1:].T, white.T @ rest, sigma2, influence[1:]


def in_ball_and_box(g, a, centre, radius, low, high):
    """min g's + s'As/2 over |centre + s| <= radius within the box; what hits it is fixed."""
    free, p = np.ones(len(g), bool), centre.copy()
    for _ in range(5):
        s = np.where(free, 0, p - centre)
        push, kept = (g + a @ s)[free], a[np.ix_(free, free)]
        room = np.sqrt(max(radius**2 - np.sum(p[~free] ** 2), 0))
        values, vectors = np.linalg.eigh(kept)
        least = max(-values[0], 0) + np.finfo(float).eps * np.abs(values).max()
        if values[0] + np.exp(np.log(least)) <= 0:  # the last digits that log and exp take
            least *= 1 + 1e-14
        turned = vectors.T @ (kept @ centre[free] - push)

        def length(t, turned=turned, values=values):
            return np.linalg.norm(turned / (values + np.exp(t)))

        t = np.log(max(least, np.finfo(float).tiny))
        if length(t) > room:
            most = np.log(np.linalg.norm(turned) / room + least)
            t = brentq(lambda t, room=room: length(t) - room, t, most, xtol=1e-14, rtol=1e-14)
        p = p.copy()
        p[free] = vectors @ (turned / (values + np.exp(t)))
        out = free & ((p < low) | (p > high))
        p = np.clip(p, low, high)
        if not out.any():
            break
        free &= ~out
    return p


class Solver:
    """A run; `points` holds every point asked, in order."""

    def __init__(self, fun, x0, low=-np.inf, high=np.inf, noise=0.0):
        self.fun, self.noise = fun, noise
        d = len(x0)
        self.low, self.high = np.broadcast_to(low, d), np.broadcast_to(high, d)
        self.points, self.xs, self.rs = [], [], []
        width = (self.high - self.low) / 10
        self.width = np.where(np.isfinite(width), width, np.inf)
        self.both = (self.low < 0) & (self.high > 0) & np.isfinite(width)
        own = np.where(x0 != 0, np.abs(x0), 1.0)
        self.unit = np.where(self.both, self.width, np.minimum(own, self.width))
        self.ask(x0)
        length = self.unit * 0.03
        if noise:
            share = noise / np.sqrt(np.mean(self.rs[0] ** 2))
            length = self.unit * np.clip(np.sqrt(share), 0.03, 1)
        for i in range(d):
            x = np.array(x0)
            x[i] += length[i] if x0[i] + length[i] <= self.high[i] else -length[i]
            self.ask(x)
        self.sigma2, self.radius = 0.0, 0.3 * np.sqrt(d)
        self.centre = int(np.argmin([r @ r for r in self.rs]))
        self.scale = self.scale_at(self.xs[self.centre])

    def ask(self, x):
        self.points.append(x)
        self.xs.append(x)
        self.rs.append(self.fun(x))

    def scale_at(self, x):
        own = np.minimum(np.maximum(np.abs(x), 0.1 * self.unit), self.width)
        return np.where(self.both, self.unit, own)

    def share(self):
        rounding = 0.5 * np.finfo(float).eps * np.abs(self.rs[self.centre]).max()
        return max(self.noise, rounding) ** 2 / self.sigma2 if self.sigma2 else 1e-28

    def look(self, j, r, doubt, promised):
        """The direction that noise hides, where it may be worth more than a step."""
        values, vectors = np.linalg.eigh(doubt)
        values, known = np.maximum(values, 0), np.sum((j @ vectors) ** 2, axis=0)
        gain = (r @ r) / len(values) * values / np.maximum(known + values, 1e-300)
        best = np.argmax(gain)
        if not self.noise or gain[best] <= 0.3 * promised:
            return None
        along = vectors[:, best]
        far = 1.0
        if self.sigma2:
            far = max(min(LENGTH * (4 * self.noise**2 / self.sigma2) ** 0.25, 1.0), 0.03)
        return far * (-along if along @ (j.T @ r) > 0 else along)

    def step(self):
        """One evaluation, and what is made of it."""
        x, here = self.xs[self.centre], self.rs[self.centre]
        z = (np.array(self.xs) - x) / self.scale
        r0, j, weights, sigma2, influence = regression(z, np.array(self.rs) - here, self.share())
        doubt = len(here) * self.noise**2 * influence @ influence.T

        def residuals(s):
            return here + r0 + j @ s + kernel(z @ s / LENGTH**2)[0] @ weights

        def value(s):
            return residuals(s) @ residuals(s) + s @ doubt @ s

        low, high = (self.low - x) / self.scale, (self.high - x) / self.scale
        s, damping, start = np.zeros(len(x)), 0.0, value(np.zeros(len(x)))
        best = start
        for _ in range(40):
            _, k1, k2 = kernel(z @ s / LENGTH**2)
            r, slope = residuals(s), j + (weights.T * k1) @ z / LENGTH**2
            hessian = slope.T @ slope + doubt + (z.T * (weights @ r) * k2) @ z / LENGTH**4
            damped = hessian + damping * np.abs(np.diag(hessian)).sum() * np.eye(len(x))
            new = in_ball_and_box(slope.T @ r + doubt @ s, damped, s, self.radius, low, high)
            gain, moved = best - value(new), np.linalg.norm(new - s)
            if gain > 0:
                s, best = new, value(new)
                damping = damping / 10 if damping > 1e-10 else 0.0
                if gain < 1e-2 * (start - best):
                    break
            else:
                if moved < 1e-12 * self.radius:
                    break
                damping = max(10 * damping, 1e-10)
        look = self.look(j, here + r0, doubt, start - best)
        self.ask(np.clip(x + (s if look is None else look) * self.scale, self.low, self.high))
        self.sigma2 = sigma2 or self.sigma2
        smooth = np.array(self.rs)
        if self.noise:
            z = (np.array(self.xs) - x) / self.scale
            _, _, weights, sigma2, _ = regression(z, smooth - here, self.share())
            self.sigma2 = sigma2 or self.sigma2
            smooth = smooth - self.share() * weights
        merits = np.sum(smooth**2, axis=1)
        ratio, length = (merits[self.centre] - merits[-1]) / (start - best), np.linalg.norm(s)
        if look is not None:
            pass
        elif ratio > 0.7:
            self.radius = max(self.radius, 2.5 * length)
        elif ratio < 0.1:
            self.radius = (0.5 if merits[-1] < merits[self.centre] else 0.25) * length
        before, self.centre = self.scale, int(np.argmin(merits))
        if self.noise:
            self.radius = max(
                self.radius, min(LENGTH * (4 * self.noise**2 / self.sigma2) ** 0.25, 0.3)
            )
        self.scale = self.scale_at(self.xs[self.centre])
        self.radius *= np.linalg.norm(s * before / self.scale) / length
