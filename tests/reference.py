"""ZO-SAH and RSPG in NumPy float64, from the formulas alone: loops, lstsq and eigh.

Nothing of the library or of JAX is used. Random draws come in from outside: the coordinates of
every period's pairs, or the directions of every step.
"""

from dataclasses import dataclass, field

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)
GRIDS = {
    "minimal": [(-1, 0), (0, -1), (1, 1)],
    "paper": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)],
}


@dataclass
class Visit:
    """A point, its value, and for every pair the (offset, value) of its samples."""

    x: np.ndarray
    base: float
    samples: list[list[tuple[np.ndarray, float]]]


@dataclass
class Memory:
    """What may be reused within a period."""

    previous: Visit | None = None
    before: Visit | None = None
    fresh: Visit | None = None
    hessian: list[np.ndarray] = field(default_factory=list)  # (a11, a12, a22) a pair
    moved: list[int] = field(default_factory=list)  # all coordinates of the pairs

    def visits(self):
        return [visit for visit in (self.previous, self.before, self.fresh) if visit is not None]


def realised(position, length):
    return (position + length) - position


def sah_trajectory(f, x0, periods, steps, learning_rate, options):
    """Points x_0 .. x_steps of ZO-SAH.

    Args:
        f: NumPy objective of a flat vector.
        x0: flat vector.
        periods: for every period the pairs of coordinates, ints of shape (J, 2).
        steps: number of steps, those without a base value included.
        learning_rate: eta.
        options: period, smoothing, radius, eigenvalue_floor, floor, cached, fit, prior, ridge,
            grid, by the names and readings of the library; lengths absolute.
    """
    x, memory, k = np.array(x0, float), Memory(), 0
    points = [x]
    for _ in range(steps):
        base, switching = f(x), k % options["period"] == 0
        if np.isfinite(base):
            pairs = [list(map(int, pair)) for pair in periods[k // options["period"]]]
            v = sah_step(f, x, base, pairs, memory, switching, options)
            k += 1
        else:  # a switch is put off
            v = retreat(x, memory)
            k += 0 if switching else 1
        x = x - learning_rate * v
        points.append(x)
    return np.array(points)


def retreat(x, memory):
    """Half the way back to the last point that had a value."""
    v = np.zeros_like(x)
    if memory.previous is not None:
        v[memory.moved] = (x[memory.moved] - memory.previous.x[memory.moved]) / 2
    return v


def sah_step(f, x, base, pairs, memory, switching, options):
    now = Visit(x, base, [forward_samples(f, x, pair, options) for pair in pairs])
    if switching:
        fresh = Visit(x, base, [grid_samples(f, x, pair, options) for pair in pairs])
        samples, previous = [fresh], [None] * len(pairs)
    else:
        samples, previous = memory.visits(), memory.hessian

    noise = EPSILON * max(
        (abs(v) for pair in now.samples for _, v in pair if np.isfinite(v)), default=0.0
    )
    gradients, hessians, held = [], [], []
    for j, pair in enumerate(pairs):
        epsilon = np.array([now.samples[j][i][0][i] for i in (0, 1)])
        values = np.array([now.samples[j][i][1] for i in (0, 1)])
        g = (values - base) / epsilon
        g[~np.isfinite(g)] = np.nan
        stays = np.isnan(g)
        if switching:  # fewer values than unknowns, and no fit before it
            stays |= sum(np.isfinite(value) for _, value in fresh.samples[j]) < 3
        rows = equations(samples, j, pair, x, base, g, epsilon, options)
        a = fit(rows, previous, j, noise, options)
        if options["fit"] == "joint":
            g = g - epsilon * a[[0, 2]] / 2
        gradients.append(np.where(stays, 0.0, g))
        hessians.append(a)
        held.append(np.where([False, stays.any(), False], 0.0, a))

    memory.before, memory.fresh = (None, fresh) if switching else (memory.previous, None)
    memory.previous, memory.hessian = now, hessians
    memory.moved = [i for pair in pairs for i in pair]
    return newton(gradients, held, pairs, x.size, options)


def forward_samples(f, x, pair, options):
    samples = []
    for i in (0, 1):
        theta = np.zeros(2)
        theta[i] = realised(x[pair[i]], options["smoothing"])
        samples.append((theta, f(moved_to(x, pair, theta))))
    return samples


def grid_samples(f, x, pair, options):
    radius = np.array([realised(x[i], options["radius"]) for i in pair])
    thetas = [np.array(cell) * radius for cell in GRIDS[options["grid"]]]
    return [(theta, f(moved_to(x, pair, theta))) for theta in thetas]


def moved_to(x, pair, theta):
    y = x.copy()
    y[pair] += theta
    return y


def monomials(theta):
    return np.array([theta[0] ** 2 / 2, theta[0] * theta[1], theta[1] ** 2 / 2])


def equations(visits, j, pair, x, base, g, epsilon, options):
    """Rows (Phi, q, |quadratic part|) of Phi . a = q for the pair; missing ones left out."""
    rows = []
    for visit in visits:
        delta = visit.x[pair] - x[pair]
        for theta, value in visit.samples[j]:
            if options["cached"] == "paper":
                linear, phi, target = delta + theta, monomials(delta + theta), value - base
            else:
                linear, phi = theta, monomials(delta + theta) - monomials(delta)
                target = value - visit.base
            if not np.isfinite(target) or np.any(np.isnan(g) & (linear != 0)):
                continue
            known = np.nan_to_num(g, nan=0.0)
            row = phi.copy()
            if options["fit"] == "joint":  # b_i = g_i - eps_i a_ii / 2
                row[[0, 2]] -= linear * epsilon / 2
            rows.append((row, target - linear @ known, np.linalg.norm(phi)))
    return rows


def fit(rows, previous, j, noise, options):
    """Least squares for (a11, a12, a22)."""
    phi = np.array([row for row, _, _ in rows]).reshape(-1, 3)
    q = np.array([target for _, target, _ in rows])
    if options["prior"] == "paper":
        ridge = options["ridge"] * np.sum(phi**2) / 3
        return stacked(phi, q, np.full(3, ridge**0.5), np.zeros(3))
    if previous[j] is None:
        return np.linalg.lstsq(phi, q, rcond=None)[0] if rows else np.zeros(3)
    unit = np.sqrt(np.mean(np.square(previous)))
    frobenius = np.array([1, 2**0.5, 1])
    size = max(np.linalg.norm(previous[j] * frobenius), unit)
    distance = np.array([length for _, _, length in rows])
    deviation = np.sqrt(2 * noise**2 + (options["ridge"] * unit * distance) ** 2)
    return stacked(phi / deviation[:, None], q / deviation, frobenius / size, previous[j])


def stacked(phi, q, pull, centre):
    """Minimiser of |phi a - q|^2 + |pull (a - centre)|^2."""
    matrix = np.concatenate([phi, np.diag(pull)])
    right = np.concatenate([q, pull * centre])
    return np.linalg.lstsq(matrix, right, rcond=None)[0]


def newton(gradients, hessians, pairs, d, options):
    spectra = [np.linalg.eigh(np.array([[a[0], a[1]], [a[1], a[2]]])) for a in hessians]
    largest = max(np.max(np.abs(values)) for values, _ in spectra)
    floor = options["eigenvalue_floor"]
    if options["floor"] == "relative":
        floor = max(floor * (1 - 1 / len(pairs)), 1e-4) * largest
    v = np.zeros(d)
    for (values, vectors), g, pair in zip(spectra, gradients, pairs, strict=True):
        size = np.maximum(np.abs(values), floor)
        if floor > 0:
            v[pair] = vectors @ ((vectors.T @ g) / size)
    return v


def rspg_trajectory(f, x0, directions, learning_rate, smoothing):
    """Points of RSPG; directions of shape (steps, q, d)."""
    x = np.array(x0, float)
    points = [x]
    for looked in directions:
        base, came = f(x), []
        for u in looked:
            slope = (f(x + smoothing * u) - base) / smoothing
            if np.isfinite(slope):
                came.append(slope * u)
        x = x - learning_rate * np.mean(came, axis=0) if came else x
        points.append(x)
    return np.array(points)
