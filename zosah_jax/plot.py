"""Pictures of a run, drawn with matplotlib (extra `plot`): `Result.plot()` calls these.

Each function draws into axes of yours, or into a figure of its own, and returns the axes: a legend,
a title and a scale are then matplotlib's. Nothing is shown: call `matplotlib.pyplot.show()`, or
`axes.figure.savefig(...)`.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np

if TYPE_CHECKING:
    from zosah_jax.faces.least_squares import LeastSquaresResult
    from zosah_jax.result import Result

_DECADES = 1.5  # from which on values are drawn on a logarithmic scale
_MOST_NAMED = 40  # parameters: more have nothing written beside their point

__all__ = ["eigenvalues", "fit", "parameters", "values"]


def values(result: "Result", axes: Any = None, *, label: str | None = None) -> Any:
    """Value against evaluations: a line for the best so far, points for where the run stood.

    Both scales follow the data: the axis of values is logarithmic where they are positive and span
    more than one and a half decades. Of runs under `jax.vmap` each has a line, and no points.

    Args:
        result: of `minimize` or `least_squares`.
        axes: matplotlib's; None: of a new figure.
        label: of the line, for a legend.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: the run is still being traced.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda x: ((x - jnp.arange(6.0)) ** 2).sum()
        >>> out = zosah_jax.minimize(f, jnp.zeros(6), budget=60)
        >>> axes = zosah_jax.plot.values(out)
        >>> axes.get_xlabel(), axes.get_yscale()
        ('evaluations', 'log')
    """
    _check_ended(result)
    axes = _axes(axes)
    history = [np.asarray(part) for part in result.history]
    value, best, spent = (part.reshape(-1, part.shape[-1]) for part in history)
    drawn, colour = [], None
    for run in range(len(best)):
        there = (spent[run] > 0) & np.isfinite(best[run])
        x, y = spent[run][there], best[run][there]
        (line,) = axes.step(x, y, where="post", color=colour, label=label if run == 0 else None)
        colour = line.get_color()
        drawn.append(y)
    if len(best) == 1:
        stood = np.isfinite(value[0]) & (spent[0] > 0)
        axes.plot(spent[0][stood], value[0][stood], ".", color=colour, alpha=0.3)
        drawn.append(value[0][stood])
    if _is_wide(np.concatenate(drawn)):
        axes.set_yscale("log")
    axes.set(xlabel="evaluations", ylabel="value")
    return axes


def parameters(result: "LeastSquaresResult", axes: Any = None) -> Any:
    """Parameters with a bar of one standard deviation to each side, from the covariance.

    Each is written beside its point where there are at most forty. A parameter that nothing
    determines has a cross and no bar.

    Args:
        result: of `least_squares`.
        axes: matplotlib's; None: of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: the run is still being traced.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> t = jnp.arange(8.0)
        >>> line = lambda p: p["height"] + p["slope"] * t - jnp.round(1 + t / 3)
        >>> fit = zosah_jax.least_squares(line, {"height": 0.0, "slope": 0.0}, budget=20)
        >>> axes = zosah_jax.plot.parameters(fit)
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['height: 1.00 ± 0.19', 'slope: 0.321 ± 0.046']
    """
    _check_ended(result)
    axes = _axes(axes)
    names, x = _named(result.params)
    variance = np.diag(np.asarray(result.covariance))
    known = np.isfinite(variance)
    place = np.arange(len(x))
    deviation = np.sqrt(np.where(known, variance, 0))
    axes.errorbar(x[known], place[known], xerr=deviation[known], fmt="o", capsize=3)
    axes.plot(x[~known], place[~known], "x")
    if len(names) <= _MOST_NAMED:
        lines = zip(names, x, np.where(known, deviation, np.inf), strict=True)
        axes.set_yticks(place, [f"{name}: {_told(here, off)}" for name, here, off in lines])
    axes.invert_yaxis()
    axes.set(xlabel="parameter, one standard deviation")
    return axes


def eigenvalues(matrix: Any, axes: Any = None, *, label: str | None = None) -> Any:
    """Eigenvalues of a symmetric matrix, largest first, by their size; negative ones are crosses.

    Of a fit it is `fit.jacobian.T @ fit.jacobian`: eigenvalues that are smaller than the others by
    many decades are directions that the data hardly determine. Of a method that keeps a Hessian it
    is in the state; see the example.

    Args:
        matrix: shape (d, d).
        axes: matplotlib's; None: of a new figure.
        label: of the points, for a legend.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the matrix is not square, or not finite.

    Example:
        >>> import jax.numpy as jnp, numpy as np, zosah_jax
        >>> method = zosah_jax.methods.quadratic_regression()
        >>> f = lambda x: x[0] ** 2 + 50 * x[1] ** 2
        >>> state = zosah_jax.minimize(f, jnp.ones(2), method, budget=30).state
        >>> hessian = state.hessian / np.outer(state.unit, state.unit)  # it is in units there
        >>> axes = zosah_jax.plot.eigenvalues(hessian)
        >>> axes.lines[0].get_ydata().round(0)
        array([100.,   2.])
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix: got one of shape {matrix.shape}, wanted a square one.")
    if not np.isfinite(matrix).all():
        raise ValueError("matrix: got entries that are not finite, wanted numbers.")
    axes = _axes(axes)
    found = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    found = found[np.argsort(-np.abs(found))]
    place = 1 + np.arange(len(found))
    (points,) = axes.plot(
        place[found >= 0], found[found >= 0], "o", markerfacecolor="none", label=label
    )
    axes.plot(place[found < 0], -found[found < 0], "x", color=points.get_color())
    if _is_wide(np.abs(found)):
        axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="number", ylabel="eigenvalue")
    return axes


def fit(result: "LeastSquaresResult") -> Any:
    """What a fit found: the sum against evaluations, the parameters, eigenvalues of J'J.

    Args:
        result: of `least_squares`.

    Returns:
        Three axes of one figure: `values`, `parameters`, and `eigenvalues` of J'J.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: the run is still being traced.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> t = jnp.arange(8.0)
        >>> line = lambda p: p["height"] + p["slope"] * t - jnp.round(1 + t / 3)
        >>> found = zosah_jax.least_squares(line, {"height": 0.0, "slope": 0.0}, budget=20)
        >>> len(zosah_jax.plot.fit(found))
        3
    """
    _check_ended(result)
    figure = _pyplot().figure(figsize=(12, 3.6), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    values(result, first).set(ylabel="sum")
    parameters(result, second)
    jacobian = np.asarray(result.jacobian, np.float64)
    eigenvalues(jacobian.T @ jacobian, third).set(ylabel="eigenvalue of J'J")
    return [first, second, third]


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plot: wanted matplotlib, which is not installed: pip install 'zosah_jax[plot]'."
        ) from error
    return pyplot


def _axes(axes: Any) -> Any:
    return _pyplot().figure(layout="constrained").subplots() if axes is None else axes


def _check_ended(result: "Result") -> None:
    if isinstance(result.value, jax.core.Tracer):
        raise TypeError("result: got a run within jit or vmap, wanted one that has ended.")


def _told(x: float, deviation: float) -> str:
    """A parameter to two digits of its deviation."""
    if not 0 < deviation < np.inf:
        return f"{x:.4g}" if deviation == 0 else f"{x:.4g} ± ?"
    digits = max(0, 1 - int(np.floor(np.log10(deviation))))
    return f"{x:.{digits}f} ± {deviation:.2g}"


def _is_wide(drawn: np.ndarray) -> bool:
    """Whether numbers are positive and span decades."""
    if not len(drawn) or drawn.min() <= 0:
        return False
    return bool(np.log10(drawn.max()) - np.log10(drawn.min()) > _DECADES)


def _named(params: Any) -> tuple[list[str], np.ndarray]:
    """A name for each coordinate, and all of them in one vector."""
    names, parts = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        leaf = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        places = (", ".join(map(str, place)) for place in np.ndindex(leaf.shape))
        names += [f"{name}[{place}]" if place else name for place in places]
        parts.append(leaf.ravel().astype(np.float64))
    return names, np.concatenate(parts)
