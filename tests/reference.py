"""ZO-SAH and RSPG in NumPy float64, from the formulas alone: loops, lstsq and eigh.

Nothing of the library or of JAX is used. Random draws come in from outside: the coordinates of
every period's pairs, or the directions of every step.
"""

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)


@dataclass
class Visit:
    """A point, its value, and for every group the (offset, value) of its samples."""

    x: np.ndarray
    base: float
    samples: list[list[tuple[np.ndarray, float]]]


@dataclass
class Memory:
    """What may be reused within a period."""

    previous: Visit | None = None
    before: Visit | None = None
    fresh: Visit | None = None
    hessian: list[np.ndarray] = field(default_factory=list)  # unknowns of A, for every group
    groups: list[list[int]] = field(default_factory=list)
    condition: float = np.inf
    blind: int = 0  # periods begun without fresh samples since the last with them
    coupling: np.ndarray | None = None

    def visits(self):
        return [visit for visit in (self.previous, self.before, self.fresh) if visit is not None]


def realised(position, length):
    return (position + length) - position


def unknowns(s):
    """Places (i, j) in A of what is fitted: its upper triangle, row by row."""
    return [(i, j) for i in range(s) for j in range(i, s)]


def matrix(a, s):
    full = np.zeros((s, s))
    for value, (i, j) in zip(a, unknowns(s), strict=True):
        full[i, j] = full[j, i] = value
    return full


def sah_trajectory(f, x0, periods, steps, learning_rate, options, memories=None):
    """Points x_0 .. x_steps of ZO-SAH.

    Args:
        f: NumPy objective of a flat vector.
        x0: flat vector.
        periods: for every period the groups of s coordinates (pairs), ints of shape (J, s).
        steps: number of steps, those without a base value included.
        learning_rate: eta.
        options: period, smoothing, radius, eigenvalue_floor, floor, cached, fit, prior, ridge,
            grid, by the names and readings of the library; lengths absolute. isotropy may be left
            out.
        memories: a list that a copy of what is known before every step is appended to.
    """
    x, memory, k = np.array(x0, float), Memory(), 0
    memory.coupling = np.zeros((x.size, x.size))
    points = [x]
    for _ in range(steps):
        if memories is not None:
            memories.append(replace(memory, coupling=memory.coupling.copy()))
        base, switching = f(x), k % options["period"] == 0
        if np.isfinite(base):
            groups = [list(map(int, group)) for group in periods[k // options["period"]]]
            v = sah_step(f, x, base, groups, memory, switching, options)
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
    for group in memory.groups:
        v[group] = (x[group] - memory.previous.x[group]) / 2
    return v


def sah_step(f, x, base, groups, memory, switching, options):
    s = len(groups[0])
    most = options.get("isotropy")
    plain = switching and most is not None and memory.condition <= most and memory.blind < 8
    now = Visit(x, base, [forward_samples(f, x, group, options) for group in groups])
    noise = EPSILON * max(
        (abs(v) for samples in now.samples for _, v in samples if np.isfinite(v)), default=0.0
    )
    fresh, visits, previous = None, memory.visits(), memory.hessian
    if switching and not plain:
        fresh = Visit(x, base, [grid_samples(f, x, group, options) for group in groups])
        visits, previous = [fresh], [None] * len(groups)
        if len(x) == s and memory.groups and lacking(fresh, groups, now, options):
            # there is but one group, and nothing of it is forgotten
            order = [memory.groups[0].index(i) for i in groups[0]]
            visits = [fresh, *(reordered(visit, order) for visit in memory.visits())]
            full = matrix(memory.hessian[0], s)[np.ix_(order, order)]
            previous = [np.array([full[place] for place in unknowns(s)])]
    if switching and plain:
        average = np.mean([np.mean(np.diag(matrix(a, s))) for a in memory.hessian])
        one = np.array([average if i == j else 0.0 for i, j in unknowns(s)])
        visits, previous = [], [one] * len(groups)

    blank = bool(visits) and not switching and not np.any(memory.hessian)  # nothing to go by

    gradients, hessians, stays, known = [], [], [], []
    for j, group in enumerate(groups):
        g, epsilon = differences(now, j)
        rows = equations(visits, j, group, x, base, g, epsilon, options)
        a = previous[j] if blank or not visits else fit(rows, previous, j, noise, options)
        if options["fit"] == "joint":
            g = g - epsilon * np.diag(matrix(a, s)) / 2
        gradients.append(g)
        hessians.append(a)
        stays.append(np.isnan(g) | blank)
        known.append(np.ones(len(a), bool) if previous[j] is not None else determined(rows, s))
    settle(hessians, stays, known, s)
    held = [
        np.where([i != k and (stay[i] or stay[k]) for i, k in unknowns(s)], 0.0, a)
        for a, stay in zip(hessians, stays, strict=True)
    ]
    gradients = [np.where(stay, 0.0, g) for g, stay in zip(gradients, stays, strict=True)]

    learn(memory, now, groups, hessians, switching, plain)
    memory.blind = memory.blind + 1 if plain else 0 if switching else memory.blind
    if not plain:
        values = np.concatenate([np.linalg.eigvalsh(matrix(a, s)) for a in held])
        found = values.max() / values.min() if values.min() > 0 else np.inf
        was = memory.condition if np.isfinite(memory.condition * found) else found
        memory.condition = max(found, (was * found) ** 0.5)

    memory.before, memory.fresh = (None, fresh) if switching else (memory.previous, None)
    memory.previous, memory.hessian, memory.groups = now, hessians, groups
    return newton(gradients, held, groups, x.size, options)


def learn(memory, now, groups, hessians, switching, plain):
    """The least symmetric change of C that explains a move in V; blocks fitted to fresh samples."""
    if not switching:
        v = np.concatenate(groups)
        s = now.x[v] - memory.previous.x[v]
        y = np.concatenate([differences(now, j)[0] for j in range(len(groups))])
        y = y - np.concatenate([differences(memory.previous, j)[0] for j in range(len(groups))])
        r = np.nan_to_num(y - memory.coupling[np.ix_(v, v)] @ s, nan=0.0)
        if s @ s > 0:
            change = (np.outer(r, s) + np.outer(s, r)) / (s @ s)
            change -= (r @ s) * np.outer(s, s) / (s @ s) ** 2
            memory.coupling[np.ix_(v, v)] += change
    for group, a in zip(groups, hessians, strict=True) if switching and not plain else ():
        memory.coupling[np.ix_(group, group)] = matrix(a, len(group))


def matched(coupling, first, ties, s):
    """Groups of s coordinates: to the next of `first` that is free, its strongest partners."""
    size = np.sqrt(np.abs(np.diag(coupling)))
    both = np.outer(size, size)
    strength = np.divide(np.abs(coupling), both, out=np.zeros_like(both), where=both > 0)
    strength = np.minimum(strength, 1) + 1e-3 * ties
    free, groups = list(range(len(size))), []
    for _ in range(len(first) // s):
        group = [next(int(i) for i in first if i in free)]
        free.remove(group[0])
        for _ in range(s - 1):
            partner = max(free, key=lambda i: max(strength[j, i] for j in group))
            free.remove(partner)
            group.append(partner)
        groups.append(group)
    return groups


def differences(visit, j):
    """Forward differences of a group, NaN where missing, and their lengths."""
    epsilon = np.array([theta[i] for i, (theta, _) in enumerate(visit.samples[j])])
    g = (np.array([value for _, value in visit.samples[j]]) - visit.base) / epsilon
    return np.where(np.isfinite(g), g, np.nan), epsilon


def lacking(fresh, groups, now, options):
    """Whether the fresh samples leave something of the first group undetermined."""
    g, epsilon = differences(now, 0)
    rows = equations([fresh], 0, groups[0], now.x, now.base, g, epsilon, options)
    return not determined(rows, len(g)).all()


def reordered(visit, order):
    """The visit of a group as that of the same coordinates in another order."""
    return Visit(visit.x, visit.base, [[(t[order], v) for t, v in visit.samples[0]]])


def determined(rows, s):
    """Which unknowns follow from the equations: those whose unit vectors their rows combine to."""
    phi = [quadratic / np.linalg.norm(quadratic) for _, _, quadratic in rows]
    rank = np.linalg.matrix_rank(phi) if phi else 0
    units = np.eye(len(unknowns(s)))
    return np.array([len(phi) > 0 and np.linalg.matrix_rank([*phi, e]) == rank for e in units])


def settle(hessians, stays, known, s):
    """Where something is undetermined: a_ij = 0, a_ii the largest known, and i stays.

    Where no a_ii is known, the largest absolute row sum of what was fitted.
    """
    places = unknowns(s)
    if not any(one for seen in known for one, (i, j) in zip(seen, places, strict=True) if i == j):
        fitted = max(np.abs(matrix(a, s)).sum(1).max() for a in hessians)
        for a in hessians:
            a[:] = [fitted if i == j else 0.0 for i, j in places]
        for stay in stays:
            stay[:] = True
        return
    largest = max(
        (
            abs(value)
            for a, seen in zip(hessians, known, strict=True)
            for value, (i, j), one in zip(a, places, seen, strict=True)
            if i == j and one
        ),
        default=0.0,
    )
    for a, stay, seen in zip(hessians, stays, known, strict=True):
        for number, (i, j) in enumerate(places):
            if not seen[number]:
                a[number] = largest if i == j else 0.0
                stay[i] |= i == j


def forward_samples(f, x, group, options):
    samples = []
    for i in range(len(group)):
        theta = np.zeros(len(group))
        theta[i] = realised(x[group[i]], options["smoothing"])
        samples.append((theta, f(moved_to(x, group, theta))))
    return samples


def grid_samples(f, x, group, options):
    radius = np.array([realised(x[i], options["radius"]) for i in group])
    thetas = [np.array(cell) * radius for cell in grid(options["grid"], len(group))]
    return [(theta, f(moved_to(x, group, theta))) for theta in thetas]


def grid(kind, s):
    """Points of the fresh samples in units of the radius."""
    one = np.eye(s, dtype=int)
    planes = [(one[i], one[j]) for i, j in unknowns(s) if i != j]
    if kind == "minimal":
        return [*-one, *(a + b for a, b in planes)]
    # the eight neighbours in every plane, each axis once
    cells = {tuple(i * a + j * b) for a, b in planes for i, j in product((-1, 0, 1), repeat=2)}
    return sorted(cells - {(0,) * s})


def moved_to(x, group, theta):
    y = x.copy()
    y[group] += theta
    return y


def monomials(theta):
    """The terms of 1/2 theta'A theta."""
    return np.array([theta[i] * theta[j] / (1 + (i == j)) for i, j in unknowns(len(theta))])


def equations(visits, j, group, x, base, g, epsilon, options):
    """Rows (Phi, q, quadratic part) of Phi . a = q for the group; missing ones left out."""
    rows = []
    diagonal = [number for number, (i, k) in enumerate(unknowns(len(group))) if i == k]
    for visit in visits:
        delta = visit.x[group] - x[group]
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
                row[diagonal] -= linear * epsilon / 2
            rows.append((row, target - linear @ known, phi))
    return rows


def fit(rows, previous, j, noise, options):
    """Least squares for the unknowns of A."""
    size = 3 if not rows else len(rows[0][0])
    phi = np.array([row for row, _, _ in rows]).reshape(-1, size)
    q = np.array([target for _, target, _ in rows])
    if options["prior"] == "paper":
        ridge = options["ridge"] * np.sum(phi**2) / size
        return stacked(phi, q, np.full(size, ridge**0.5), np.zeros(size))
    if previous[j] is None:
        return np.linalg.lstsq(phi, q, rcond=None)[0] if rows else np.zeros(size)
    size = len(previous[j])
    phi = phi.reshape(-1, size)
    unit = np.sqrt(np.mean(np.square(previous)))
    s = round((2 * size) ** 0.5 - 0.5)
    frobenius = np.array([1 if i == k else 2**0.5 for i, k in unknowns(s)])
    norm = max(np.linalg.norm(previous[j] * frobenius), unit)
    distance = np.array([np.linalg.norm(quadratic) for _, _, quadratic in rows])
    deviation = np.sqrt(2 * noise**2 + (options["ridge"] * unit * distance) ** 2)
    return stacked(phi / deviation[:, None], q / deviation, frobenius / norm, previous[j])


def stacked(phi, q, pull, centre):
    """Minimiser of |phi a - q|^2 + |pull (a - centre)|^2."""
    extended = np.concatenate([phi, np.diag(pull)])
    right = np.concatenate([q, pull * centre])
    return np.linalg.lstsq(extended, right, rcond=None)[0]


def newton(gradients, hessians, groups, d, options):
    spectra = [np.linalg.eigh(matrix(a, len(groups[0]))) for a in hessians]
    largest = max(np.max(np.abs(values)) for values, _ in spectra)
    floor = options["eigenvalue_floor"]
    if options["floor"] == "relative":
        floor = max(floor * (1 - 1 / len(groups)), 1e-4) * largest
    v = np.zeros(d)
    for (values, vectors), g, group in zip(spectra, gradients, groups, strict=True):
        size = np.maximum(np.abs(values), floor)
        if floor > 0:
            v[group] = vectors @ ((vectors.T @ g) / size)
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
