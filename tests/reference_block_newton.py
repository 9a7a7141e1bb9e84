"""Block Newton in NumPy, written from its description: a whole run, value by value.

The order in which coordinates are met is the library's (it is random); nothing else is.
"""

import numpy as np

EPS = np.finfo(float).eps
HORIZONS = np.array([0.3, 3.0])


class Stop(Exception):
    """The budget is spent."""


class Reference:
    """A run from x0; `points` are all that were asked, `stood` where it stood after each step.

    Args:
        f: objective; what is not finite is missing.
        x0: shape (d,).
        order: turn -> random numbers in [0, 1) of all coordinates, shape (d,).
        m: coordinates of a block.
        budget: values.
    """

    def __init__(self, f, x0, order, m, budget):
        self.f, self.order, self.m, self.budget = f, order, m, budget
        self.points, self.stood = [], []
        d = len(x0)
        self.x, self.d = np.array(x0, float), d
        size = np.sqrt(np.mean(self.x**2))
        self.first = np.full(d, 0.1 * (size if size > 0 else 1.0))
        self.h, self.gain, self.seen = np.zeros(d), np.zeros(d), np.zeros(d, int)
        self.q, self.slopes, self.matrix = np.zeros((2, d)), np.zeros(2), np.zeros((2, 2))
        self.alpha, self.length, self.doubt, self.turn = 1.0, 0.0, False, 0

    def value(self, point):
        if len(self.points) == self.budget:
            raise Stop
        self.points.append(np.array(point))
        return self.f(point)

    def run(self):
        try:
            self.fx = self.value(self.x)
            while True:
                self.turn += 1
                self.step()
        except Stop:
            return self

    # --- coordinates ------------------------------------------------------------------------------

    def weights(self):
        known = self.h != 0
        mean = np.exp(np.log(np.abs(self.h[known])).mean()) if known.any() else 1.0
        return np.where(known, np.maximum(np.abs(self.h), mean / 100), mean), mean

    def alike(self):
        known = self.h != 0
        enough = np.sum(known) >= min(2 * self.m, self.d)
        return enough and np.std(np.log(np.abs(self.h[known]))) < 0.2

    def block(self):
        met = self.seen > 0
        mean = self.gain[met].mean() if met.any() else 0.0
        relative = self.gain / (mean if mean > 0 else 1.0)
        score = np.maximum(relative, 1e-3) ** 0.25 * (self.turn - self.seen)
        new = np.finfo(float).max / 4 * (1 + self.order(self.turn))
        return np.argsort(-np.where(met, score, new), kind="stable")[: self.m]

    def along(self, i, length):
        point = self.x.copy()
        point[i] += length
        return self.value(point) - self.fx

    def look(self, block):
        """Derivatives of the block; and curvatures, where some are not known."""
        slope = np.zeros(self.m)
        error = 4 * EPS * abs(self.fx) + np.finfo(float).tiny
        shortest = 4 * EPS * np.maximum(np.abs(self.x[block]), self.first[block])
        if np.any(self.h[block] == 0) and not self.alike():
            s = self.first[block]
            there = [self.along(i, s[k]) for k, i in enumerate(block)]
            back = [self.along(i, -s[k]) for k, i in enumerate(block)]
            for k, i in enumerate(block):
                h = (there[k] + back[k]) / s[k] ** 2
                if np.isfinite(h) and abs(h) * shortest[k] ** 2 <= 4 * error:
                    slope[k], self.h[i] = (there[k] - back[k]) / (2 * s[k]), h
                else:
                    self.h[i], self.first[i] = 0.0, self.first[i] / 10
        else:
            w, mean = self.weights()
            s = np.minimum(2 * np.sqrt(error / w[block]), self.first[block])
            s = np.maximum(s, shortest)
            s = (self.x[block] + s) - self.x[block]
            h = self.h[block]
            h = np.where((h == 0) & self.alike(), mean, h)
            for k, i in enumerate(block):
                found = self.along(i, s[k]) / s[k] - h[k] * s[k] / 2
                slope[k] = found if np.isfinite(found) else 0.0
        return slope

    # --- the plane --------------------------------------------------------------------------------

    def step(self):
        block = self.block()
        slope = self.look(block)
        w, _ = self.weights()
        self.gain[block], self.seen[block] = slope**2 / w[block], self.turn
        p = np.zeros(self.d)
        p[block] = -slope / w[block]

        def norm(v):
            return np.sqrt(np.sum(w * v**2))

        if self.doubt and self.q.any():
            self.refresh(norm)
        slopes = np.concatenate([[slope @ p[block]], self.slopes])
        first = self.value(self.x + self.alpha * p)
        plane = np.zeros((3, 3))
        plane[0, 0] = 2 * (first - self.fx - self.alpha * slopes[0]) / self.alpha**2
        plane[1:, 1:] = self.matrix
        for j in range(2):
            b = self.alpha * norm(p) / norm(self.q[j]) if self.q[j].any() else 0.0
            value = self.value(self.x + self.alpha * p + b * self.q[j])
            if b > 0:
                rest = value - first - b * self.slopes[j] - b**2 * self.matrix[j, j] / 2
                mixed = rest / (self.alpha * b)
                most = np.sqrt(abs(plane[0, 0] * self.matrix[j, j]))
                mixed = np.clip(mixed, -most, most) if abs(mixed) <= 10 * most else 0.0
                plane[0, j + 1] = plane[j + 1, 0] = mixed
        if not plane[0, 0] <= 10 * self.m * norm(p) ** 2:
            self.alpha *= 0.3
            plane[0], plane[:, 0] = 0.0, 0.0
            plane[0, 0] = abs(slopes[0]) / self.alpha
            first = np.inf
        directions = np.vstack([p, self.q])
        share = self.minimum(plane, slopes, np.array([norm(v) for v in directions]))
        promised = slopes @ share + share @ plane @ share / 2
        end = self.x + share @ directions
        value = self.value(end)
        off = abs(value - self.fx - promised) > 0.3 * abs(promised) or not np.isfinite(value)
        if not (value < self.fx and value <= first):
            if first >= self.fx:
                self.failed(slopes[0])
                return
            share = np.array([self.alpha, 0.0, 0.0])
            end, value = self.x + self.alpha * p, first
        moved, fading = end - self.x, np.exp(-self.m / self.d / HORIZONS)
        mix = np.column_stack([np.full(2, share[0]), share[1:] + np.diag(fading)])
        self.q = fading[:, None] * self.q + moved
        self.slopes, self.matrix = mix @ (slopes + plane @ share), mix @ plane @ mix.T
        self.x, self.fx, self.doubt, self.length = end, value, off, norm(moved)
        if share[0] > 0:
            self.alpha = np.clip(share[0], self.alpha / 3, min(1.5, 3 * self.alpha))
        self.stood.append(self.x)

    def refresh(self, norm):
        lengths = [0.3 * self.length / norm(q) if q.any() else 0.0 for q in self.q]
        up = [self.value(self.x + b * q) - self.fx for b, q in zip(lengths, self.q, strict=True)]
        down = [self.value(self.x - b * q) - self.fx for b, q in zip(lengths, self.q, strict=True)]
        for j, b in enumerate(lengths):
            bend = (up[j] + down[j]) / b**2 if b > 0 else 0.0
            if abs(bend) <= 10 * self.d * norm(self.q[j]) ** 2:
                self.slopes[j] = (up[j] - down[j]) / (2 * b) if b > 0 else 0.0
                self.matrix[j, j] = bend
            else:
                self.q[j], self.slopes[j], self.matrix[j], self.matrix[:, j] = 0.0, 0.0, 0.0, 0.0
        self.doubt = False

    def minimum(self, plane, slopes, norms):
        there = norms > 0
        unit = np.where(there, norms, 1.0)
        scaled = np.where(np.outer(there, there), plane / np.outer(unit, unit), 0)
        values, vectors = np.linalg.eigh(scaled)
        size = np.maximum(np.abs(values), np.max(np.abs(values)) / 100)
        z = -vectors @ ((vectors.T @ np.where(there, slopes / unit, 0)) / size)
        z *= min(1, 10 * max(self.length, self.alpha * norms[0]) / np.linalg.norm(z))
        share = z / unit
        return share * min(1, 4 * self.alpha / max(abs(share[0]), 1e-300))

    def failed(self, slope):
        error = 4 * EPS * abs(self.fx) + np.finfo(float).tiny
        self.alpha, self.doubt = max(0.3 * self.alpha, min(10 * error / abs(slope), 1.0)), True
