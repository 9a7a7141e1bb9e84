"""ZO-SAH in random directions in NumPy float64, from the formulas alone: dense matrices, loops.

Nothing of the library or of JAX is used. Directions come in from outside.
"""

import numpy as np


def orthonormal(directions):
    """Gram and Schmidt's rows of the same span."""
    rows = []
    for u in directions:
        for row in rows:
            u = u - (u @ row) * row
        rows.append(u / np.linalg.norm(u))
    return np.array(rows)


def projected(slopes, directions):
    """The gradient in a span, from its slopes along directions that are not orthonormal."""
    return directions.T @ np.linalg.solve(directions @ directions.T, slopes)


def remembered(a, sample):
    """The mean over five steps; what is above four times it by itself, at most 16 times it."""
    if a == 0:
        return abs(sample)
    if sample > 4 * a:
        return min(sample, 16 * a)
    return a + (max(sample, 0) - a) / 5


def one_step_back(f, x, base, a, back, v, slope, place, before):
    """Slopes along the last step, by this mini-batch and by the one before, times its own."""
    again, t = f(x + back * v), (v @ place - v @ x) / (v @ v)
    part = ((again - base) / back + (t - back / 2) * a * (v @ v)) / slope
    if abs(again - before) <= 1e-15 * max(abs(again), abs(before)) + 0.02 * slope:
        part = 1.0  # the same mini-batch
    return slope**2 / (v @ v) * np.array([np.clip(part, -4, 4), 1.0])


def trajectory(f, x0, drawn, learning_rate, epsilon, period):
    """Points x_0 .. x_n, and curvatures after each step.

    Args:
        f: of a point.
        x0: start.
        drawn: raw directions of every step, shape (steps, m, d).
        learning_rate: at most 1, without momentum.
        epsilon: length of a forward probe, times that of a raw direction.
        period: steps between values on steps.
    """
    x, a, reach = np.array(x0, float), 0.0, epsilon * len(x0) ** 0.5
    points, curvatures, careful, last = [x], [], False, None
    agreed = np.zeros(2)
    for k, u in enumerate(drawn):
        base = f(x)
        if 8 * len(u) > len(x):  # nearly as many as coordinates: along orthonormal ones
            unit = np.sqrt(np.mean(np.sum(u**2, axis=1)))
            u = unit * orthonormal(u)
        slopes = np.array([(f(x + epsilon * each) - base) / epsilon for each in u])
        g = projected(slopes, u)
        size, used, back = g @ g, None, 0.0
        if k % period == 0 and last and not careful:
            rate = learning_rate if k >= 2 else 1.0  # as soon as a move was seen
            agreed = 0.97 * agreed + one_step_back(f, x, base, a, rate, *last)
        if k % period == 0 or careful:
            near = reach / np.sqrt(size)
            t = near if a == 0 else min(1 / a, 16 * near)
            sample = 2 * (f(x - t * g) - base + t * size) / (t * t * size)
            steep = sample > 4 * a
            a = remembered(a, sample)
            used = max(a, sample) if steep else a
        else:
            v, slope, place, before = last
            t = (v @ place - v @ x) / (v @ v)
            sample = 2 * (base - before + t * slope) / (t * t * (v @ v))
            if sample > 4 * a:
                back = 1 - slope / (sample * (v @ v)) / t
            a = remembered(a, sample)
            used = a
        v = g / used
        length = np.linalg.norm(v)
        most = reach * (16 if k >= 2 else 1)
        if length > most:
            v, length = v * most / length, most
        if agreed[1]:  # the part of a step that holds for other mini-batches
            v = v * np.clip(agreed[0] / agreed[1], 0.01, 1)
        if back:
            x = x + learning_rate * back * last[0]
        else:
            last, reach = (v, g @ v, x, base), length
            x = x - learning_rate * v
        careful = bool(back)
        points.append(x)
        curvatures.append(a)
    return np.array(points), np.array(curvatures)
