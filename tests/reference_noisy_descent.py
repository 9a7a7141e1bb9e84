"""Noisy descent in NumPy, from its formulas; the directions are those of the run."""

import numpy as np


class Reference:
    """One run: `step(directions, values)` with values forth, then back; far pairs first."""

    def __init__(self, x0, noise, low=-np.inf, high=np.inf):
        self.x = np.array(x0, float)
        self.low, self.high = (np.broadcast_to(side, self.x.shape) for side in (low, high))
        self.noise, self.seen = noise, 0
        self.size = np.sqrt(np.mean(self.x**2)) or 1.0
        self.h = 0.1 * self.size
        self.trace = self.error = self.slope = 0.0
        self.value = np.inf

    def radii(self, n):
        return np.repeat([1.5 * self.h, self.h / 1.5], n)

    def room(self):
        least = np.minimum(self.x - self.low, self.high - self.x)
        return np.clip(least / (1.5 * self.h), 0.1, 1)

    def step(self, signs, values):
        n, room, radii = len(values) // 4, self.room(), self.radii(len(values) // 4)
        if not np.all(np.isfinite(values)):
            self.h /= 2
            return
        forth, back = values[: 2 * n], values[2 * n :]
        slopes, means = (forth - back) / (2 * radii), (forth + back) / 2
        sigma = np.hypot(self.noise, 4 * np.finfo(float).eps * np.abs(values).max())
        apart = radii[0] ** 2 - radii[-1] ** 2
        sample = 2 * (means[:n].mean() - means[n:].mean()) / apart
        deviation = 2 * sigma / np.sqrt(n) / apart

        first, before = self.seen == 0, abs(self.trace) + self.error
        if first:
            self.trace, self.error = sample, np.hypot(deviation, 0.3 * abs(sample))
        else:
            sample = np.clip(sample, -10 * before, 10 * before)
            old = 0.95 / self.error**2  # precisions
            new = 1 / (deviation**2 + (0.3 * before) ** 2)
            self.trace = (old * self.trace + new * sample) / (old + new)
            self.error = (old + new) ** -0.5
        trace = max(self.trace, 0) + self.error

        squared = sigma**2 / (2 * radii**2)
        here = sigma**2 / (2 * self.h**2)
        seen = np.mean(slopes**2 - squared)
        if not first:
            seen = min(seen, 10 * max(self.slope, here))
        share = here / (here + self.slope)
        self.slope += (seen - self.slope) / (1 + min(self.seen, 10 + 0.25 * self.seen * share))
        self.slope = max(self.slope, 0.0)

        told = (self.slope + 1e-3 * squared) / (self.slope + squared)
        amount = told * slopes / (trace * (1 + (2 * n + 1) / len(self.x)))
        move = np.clip(amount, -radii, radii) @ signs
        value = means[n:].mean() - radii[-1] ** 2 * trace / 2
        weight = 1 / min(self.seen + 1, 10)
        self.value = value if first else self.value + weight * (value - self.value)

        wanted = max(np.sqrt(6 * sigma / trace), np.sqrt(self.slope) / trace)
        factor = 1.3 if self.trace < 2 * self.error else np.clip(wanted / self.h, 1 / 1.3, 1.3)
        width = self.high - self.low
        widest = min(np.mean(width[width > 0]) / 2, 100 * self.size)
        self.h = min(self.h * factor, widest / 1.5)
        self.x = np.clip(self.x - room * move, self.low, self.high)
        self.seen += 1
