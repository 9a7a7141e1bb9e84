"""The peers in NumPy float64, from the papers' formulas alone: dense matrices, loops, eigh.

Nothing of the library or of JAX is used. Random draws come in from outside, as arrays. Every
trajectory is an array of the points x_0 .. x_n; a step whose values are missing does what the
method's docstring says.
"""

import numpy as np


def descend(x0, learning_rate, step, steps):
    """Points of x <- x - learning_rate * step(k, x)."""
    points = [np.array(x0, float)]
    for k in range(steps):
        points.append(points[-1] - learning_rate * step(k, points[-1]))
    return np.array(points)


def mean_of(came, like):
    """Mean of the vectors that are finite; zero where there is none."""
    came = [v for v in came if np.all(np.isfinite(v))]
    return np.mean(came, axis=0) if came else np.zeros_like(like)


def mezo(f, x0, directions, learning_rate, epsilon):
    """Directions of shape (steps, n, d); zero outside of a block for MeZO-BCD."""

    def step(k, x):
        pairs = [
            ((f(x + epsilon * z) - f(x - epsilon * z)) / (2 * epsilon), z) for z in directions[k]
        ]
        return mean_of([p * z for p, z in pairs], x)

    return descend(x0, learning_rate, step, len(directions))


def fzoo(f, x0, directions, learning_rate, epsilon, divide_by_epsilon):
    """Directions of shape (steps, N, d)."""

    def step(k, x):
        base = f(x)
        losses = np.array([f(x + epsilon * u) for u in directions[k]])
        came = np.isfinite(losses - base)
        if came.sum() < 2:
            return np.zeros_like(x)
        sigma = np.std(losses[came], ddof=1) * (epsilon if divide_by_epsilon else 1)
        return (losses[came] - base) @ directions[k][came] / (came.sum() * sigma)

    return descend(x0, learning_rate, step, len(directions))


def hizoo(f, x0, directions, learning_rate, epsilon, a, scaling, updated_by):
    """Directions of shape (steps, d)."""
    hessian = np.ones(len(x0))
    scale = {"inverse_root": lambda h: h**-0.5, "hessian": lambda h: h}[scaling]

    def step(k, x):
        nonlocal hessian
        z, old = directions[k], hessian
        move = epsilon * scale(old) * z
        base, forth, back = f(x), f(x + move), f(x - move)
        curvature = abs(forth + back - 2 * base) / (2 * epsilon**2)
        if np.isfinite(curvature):
            hessian = (1 - a) * old + a * curvature * old * z**2
        slope = (forth - back) / (2 * epsilon)
        chosen = hessian if updated_by == "new" else old
        return slope * scale(chosen) * z if np.isfinite(slope) else np.zeros_like(x)

    return descend(x0, learning_rate, step, len(directions))


def deepzero(f, x0, coordinates, learning_rate, mu):
    """Coordinates of the mask of every step, a list of integer arrays."""

    def step(k, x):
        gradient, base = np.zeros_like(x), f(x)
        for i in coordinates[k]:
            moved = x.copy()
            moved[i] += mu
            slope = (f(moved) - base) / (moved[i] - x[i])
            gradient[i] = slope if np.isfinite(slope) else 0
        return gradient

    return descend(x0, learning_rate, step, len(coordinates))


def zo_rsn(f, x0, coordinates, learning_rate, h, smallest, largest, central):
    """Coordinates of shape (steps, m)."""

    def step(k, x):
        chosen = coordinates[k]
        m = len(chosen)
        sketch = np.eye(x.size)[:, chosen]

        def value(*multiples):
            return f(x + h * sketch @ np.array(multiples))

        unit = np.eye(m)
        base, forth = value(*np.zeros(m)), [value(*row) for row in unit]
        gradient, hessian = np.zeros(m), np.zeros((m, m))
        for i in range(m):
            if central:
                back = value(*-unit[i])
                gradient[i] = (forth[i] - back) / (2 * h)
                hessian[i, i] = (forth[i] - 2 * base + back) / h**2
            else:
                gradient[i] = (forth[i] - base) / h
                hessian[i, i] = (value(*2 * unit[i]) - 2 * forth[i] + base) / h**2
            for j in range(i):
                both = value(*unit[i] + unit[j])
                hessian[i, j] = hessian[j, i] = (both - forth[i] - forth[j] + base) / h**2
        values, vectors = np.linalg.eigh(hessian)
        inverse = vectors @ np.diag(1 / np.clip(values, smallest, largest)) @ vectors.T
        return sketch @ inverse @ gradient

    return descend(x0, learning_rate, step, len(coordinates))


def zoha(
    f, x0, hessian_directions, gradient_directions, period, mu, damping, model, check, rate=1.0
):
    """A step of the learning rate's length at most, checked as it is taken.

    Args:
        f: objective.
        x0: start.
        hessian_directions: shape (refreshes, b, d).
        gradient_directions: shape (steps, q, d).
        period: steps between refreshes.
        mu: length of all differences.
        damping: lambda, or None for the mean eigenvalue.
        model: (f, x, mu, U, curvatures, damping) -> the Hessian as a dense matrix.
        check: parts 1, 1/2 ... of the step that are tried; 0 for none.
        rate: learning rate.
    """
    root = None

    def step(k, x):
        nonlocal root
        base = f(x)
        if k % period == 0:
            looked = hessian_directions[k // period]
            second = [f(x + mu * u) + f(x - mu * u) - 2 * base for u in looked]
            curvature = np.abs(second) / (2 * mu**2)
            least = 2 * np.mean(curvature) / x.size if damping is None else damping
            values, vectors = np.linalg.eigh(model(f, x, mu, looked, curvature, least))
            root = vectors @ np.diag(values**-0.5) @ vectors.T
        scaled = gradient_directions[k] @ root
        v = np.mean([u * (f(x + mu * u) - base) / mu for u in scaled], axis=0)
        tried = [(f(x - rate * v / 2**i), 1 / 2**i) for i in range(check)]
        if not check:
            return v
        lowest, part = min(tried)
        return part * v if lowest < base else 0 * v

    return descend(x0, rate, step, len(gradient_directions))


def gauss_model(f, x, mu, looked, curvature, damping):
    del f, mu
    return (looked.T * curvature) @ looked / len(looked) + damping * np.eye(x.size)


def diag_model(f, x, mu, looked, curvature, damping):
    return np.diag(np.diag(gauss_model(f, x, mu, looked, curvature, damping)))


def gram_schmidt(columns):
    basis, upper = np.linalg.qr(columns)
    return basis * np.sign(np.diag(upper))


def power_model(rank, rounds):
    """Ritz pairs of a block power iteration within the span of the directions."""

    def model(f, x, mu, looked, curvature, damping):
        del curvature
        d = x.size
        basis = gram_schmidt(looked[:rank].T)
        for number in range(rounds):
            along = basis * d**0.5  # as long as the directions
            products = np.array(
                [
                    [f(x + mu * (u + v)) - f(x + mu * u) - f(x + mu * v) + f(x) for v in along.T]
                    for u in looked
                ]
            ) / (mu**2 * d**0.5)
            if number < rounds - 1:
                basis = gram_schmidt(looked.T @ products)
        coefficients = np.linalg.lstsq(looked.T, basis, rcond=None)[0]
        projected = coefficients.T @ products
        values, vectors = np.linalg.eigh((projected + projected.T) / 2)
        pairs = basis @ vectors
        return pairs @ np.diag(np.abs(values)) @ pairs.T + damping * np.eye(d)

    return model


# --- low rank ------------------------------------------------------------------------------------


def eggroll(f, x0, directions, learning_rate, sigma, scored):
    """Directions of shape (steps, n, d), as E_i; scored: z-scores of all values, or differences."""

    def step(k, x):
        forth = np.array([f(x + sigma * e) for e in directions[k]])
        back = np.array([f(x - sigma * e) for e in directions[k]])
        came = np.isfinite(forth) & np.isfinite(back)
        both = np.concatenate([forth[came], back[came]])
        if not came.any() or np.std(both) == 0:
            return np.zeros_like(x)
        unit = np.std(both) if scored else sigma
        weights = (forth[came] - back[came]) / unit
        return weights @ directions[k][came] / (2 * came.sum())

    return descend(x0, learning_rate, step, len(directions))


def lozo(f, x0, directions, learning_rate, epsilon, rank):
    """Directions of shape (steps, d), as U V', not divided by anything."""

    def step(k, x):
        p = directions[k]
        c = (f(x + epsilon * p) - f(x - epsilon * p)) / (2 * epsilon)
        return mean_of([c * p / rank], x)

    return descend(x0, learning_rate, step, len(directions))


def newton_schulz(matrix):
    """Five steps of Muon's iteration."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def zo_muon(f, x0, projections, samples, vectors, shape, learning_rate, mu, vector_rate):
    """A matrix of a shape and a vector after it in x.

    Args:
        projections: P of every step, shape (steps, m, r).
        samples: shape (steps, q, n, r).
        vectors: directions of the vector, shape (steps, q, d - m n).
    """
    size = shape[0] * shape[1]

    def step(k, x):
        p, found, rest = projections[k], 0, 0
        base, count = f(x), len(samples[k])
        for psi, u in zip(samples[k], vectors[k], strict=True):
            moved = x + mu * np.concatenate([(p @ psi.T).ravel(), u])
            slope = (f(moved) - base) / mu
            found, rest = found + slope * psi / count, rest + slope * u / count
        sign = newton_schulz(found.T).T if found.shape[0] > found.shape[1] else newton_schulz(found)
        return np.concatenate([(p @ sign.T).ravel(), vector_rate * rest])

    assert len(x0) > size
    return descend(x0, learning_rate, step, len(projections))


def zovh(f, x0, directions, learning_rate, mu, damping, histories, paper):
    """Directions of shape (steps, n, d)."""
    kept = []

    def step(k, x):
        kept.insert(0, (directions[k], np.array([f(x + mu * z) for z in directions[k]])))
        del kept[histories:]
        z = np.concatenate([drawn for drawn, _ in kept])
        if paper:
            values = np.concatenate([found for _, found in kept])
            centred, free = values - np.mean(values), len(values) - 1
        else:
            centred = np.concatenate([found - np.mean(found) for _, found in kept])
            free = len(z) - len(kept)
        g = (centred / mu) @ z / free
        step = g.copy()
        crowd = 1 if paper else max(histories * len(directions[k]) / len(x), 1)
        for i, (w, direction) in enumerate(zip(centred / mu**2, z, strict=True)):
            w = w if paper else max(w, 0)
            others = np.delete(np.arange(len(z)), i)
            without = (centred[others] / mu) @ z[others] / free
            c = w / (damping * free + w * direction @ direction) / crowd
            step -= c * (direction @ without) * direction
        return step / damping

    return descend(x0, learning_rate, step, len(directions))
