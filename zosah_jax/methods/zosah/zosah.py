"""ZO-SAH (arXiv 2507.06125): Newton steps in two-dimensional subspaces, from values alone."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax

from zosah_jax.blocks import BlockOrder, BlockRule, check_blocks
from zosah_jax.checks import check_choice, check_count, check_positive, check_static_count
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage
from zosah_jax.methods.zosah.boxes import Basis, Here
from zosah_jax.methods.zosah.coordinates import Coordinates
from zosah_jax.methods.zosah.directions import Directions
from zosah_jax.methods.zosah.reading import Reading, reading_of
from zosah_jax.methods.zosah.subspaces import check_groups
from zosah_jax.pytree import Params

BasisName = Literal["coordinates", "dense", "low_rank"]


@dataclass(frozen=True, eq=False)
class ZOSAH(Method):
    r"""Newton direction in random two-dimensional subspaces, from function values alone.

    Every T steps m coordinates are drawn and paired into m/2 subspaces W_j. In each, at every step,

    .. math:: v_j = |A_j|_\kappa^{-1} g_j, \qquad g_i = (f(x + \epsilon e_i) - f(x)) / \epsilon,

    where the 2x2 Hessian A_j is fitted to values that are mostly already paid for, and
    |A|_kappa has the absolute eigenvalues, floored. A step takes m + 1 values, the first of a
    period 3m/2 more (4m with the paper's grid). Values that are not finite are left out of the
    fits.

    On networks coordinates interact, and each sees little of the gradient. There the subspaces may
    be spanned by random directions (`basis`), m new ones every step. These all see one curvature,
    A_j = a I, which is a mean over steps of what was measured along them (`zosah/along.py`): on the
    step, by one more value, as a period begins, else by f(x) where the last one led. So it counts
    what all pairs do to each other, and any m is safe at a learning rate of 1. A step takes m + 1
    values, the first of a period one more, or two after the first period. How far the parameters
    follow is seen, too: under momentum beta a step leads 1 / (1 - beta) times as far as it says,
    and is shortened by as much (so is one under a learning rate above 1).

    Values are compared within a period only, for any basis: keep a mini-batch for a whole one (of
    random directions that is a step). In random directions every period then asks its batch, by a
    value where the last step came from, how much of that step holds for it, too: steps are that
    part of a Newton step, in the mean of some thirty periods, so that noise between batches, or of
    values, does not lead up. On a batch that is the same, that part is 1.

    The published descriptions leave points open; the defaults are what measured best (see
    `experiments/README.md`), and `reading="paper"` is the paper's reading of all of them.

    Args:
        subspace_dim: m, even, 2 to d (static). None: about d/2, at most 16; of random directions 8.
        period: T, steps between subspace switches, or of random directions between values on
            steps. None: 5 (paper: 20), or 1 where d = 2, and along random directions.
        smoothing: epsilon, absolute length of the forward differences. None: the square root of
            the machine epsilon of the parameters (as perturbed: float32 or wider), times
            max(1, |x_i|). An objective that computes or is measured less exactly than that needs
            a larger one: the square root of its relative error.
            Along random directions it is that of a coordinate, in the root mean square.
        radius: l, absolute radius of the fresh Hessian samples. None: what balances rounding
            and truncation at the last fit, see `methods/zosah/lengths.py`.
        eigenvalue_floor: kappa, relative to the largest eigenvalue of all pairs. None: 0.03 (paper:
            0.1, absolute).
        ridge: how strongly the fit is drawn to the previous one, see `methods/zosah/hessian.py`.
            None: 0.03 (paper: 1e-6, to zero).
        basis: "coordinates", as in the paper; "dense": independent normal directions of all
            parameters, orthonormalised; "low_rank": likewise, but every matrix moves by a product
            of two thin factors, as of `low_rank.LowRank`, which takes far fewer random numbers and
            lets the probes share their products with it (`evaluate.factored`).
        rank: of the factors (static).
        groups: known pairs of coordinates that belong together, ints of shape (d/2, 2): each
            coordinate's place in the concatenation of the parameters once. None: pairs are drawn at
            random. Not with `blocks`, nor with random directions.
        blocks: confine V to one block of the parameters for a period: "layer", "leaf", a function
            from a leaf's path to the name of its block, or a pytree of names (`split_blocks`). The
            probes of a period then share all that the objective does before that block. None: V is
            drawn from all parameters.
        block_order: which block comes next: "cyclic", "reshuffled" (each once a sweep) or "random".
        reading: of what the paper leaves open: "measured", "paper", or a `Reading` of each point.
        key: an int or a typed PRNG key; the subspaces follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx = zosah_jax.zosah(learning_rate=1.0)
        >>> x = jnp.zeros(3)
        >>> state = tx.init(x)
        >>> step = jax.jit(lambda x, s: tx.update(jnp.zeros_like(x), s, x, value_fn=f))
        >>> for _ in range(20):
        ...     updates, state = step(x, state)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(f(x) < 1e-10), zosah_jax.num_evaluations(state)
        (True, 72)

    References:
        Kim et al., `Subspace-based Approximate Hessian Method for Zeroth-Order Optimization
        <https://arxiv.org/abs/2507.06125>`_, 2025.
    """

    subspace_dim: int | None = None
    period: int | None = None
    smoothing: float | None = None
    radius: float | None = None
    eigenvalue_floor: float | None = None
    ridge: float | None = field(default=None, kw_only=True)
    basis: BasisName = field(default="coordinates", kw_only=True)
    rank: int = field(default=1, kw_only=True)
    groups: Any = field(default=None, kw_only=True)
    blocks: BlockRule | None = field(default=None, kw_only=True)
    block_order: BlockOrder = field(default="cyclic", kw_only=True)
    reading: Literal["measured", "paper"] | Reading = field(default="measured", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range; the subspace dimension waits for the parameters."""
        super().__post_init__()
        check_count("period", self.period, optional=True)
        for name in ("smoothing", "radius", "eigenvalue_floor", "ridge"):
            check_positive(name, getattr(self, name), optional=True)
        check_groups(self.groups)
        check_blocks(self.blocks, self.block_order)
        if self.blocks is not None and self.groups is not None:
            raise ValueError("groups: got them with blocks, wanted one of the two.")
        reading_of(self.reading)
        check_choice("basis", self.basis, get_args(BasisName))
        check_rank = check_static_count if self.basis == "low_rank" else check_count
        check_rank("rank", self.rank)
        for name in ("groups", "radius", "ridge"):
            given = getattr(self, name)
            if self.basis != "coordinates" and given is not None:
                raise ValueError(
                    f"{name}: got {given!r} with basis={self.basis!r}, wanted None: it concerns "
                    "pairs of coordinates (basis='coordinates')."
                )

    @property
    def rules(self) -> Reading:
        """The reading of every open point."""
        return reading_of(self.reading)

    def or_default(self, name: str, measured: float, paper: float) -> Any:
        """An option, or its default, which the paper's reading has of its own."""
        given = getattr(self, name)
        default = paper if self.reading == "paper" else measured
        return default if given is None else given

    @property
    def spanned_by(self) -> Basis:
        """The boxes of the basis."""
        return Coordinates(self) if self.basis == "coordinates" else Directions(self)

    def init(self, params: Params, key: jax.Array) -> Any:
        """State of a run that has seen nothing: `ZOSAHState`, or `DirectionsState`."""
        return self.spanned_by.init(params, key)

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """The first step of a period, and any other; of random directions a value on the step."""
        del params
        return self.spanned_by.stages(self.tell_step)

    def next_stage(self, state: Any) -> jax.Array:
        """0 where a period begins, 1 elsewhere; 2 is a value on the step."""
        return self.spanned_by.next_stage(state)

    def tell_step(
        self,
        fresh: bool,
        state: Any,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """The paper's steps 1 to 6."""
        here, basis = Here(state, params, problem, fresh), self.spanned_by
        # 1. Subspaces: every T steps (of directions, every step) new pairs W_j; `ask` drew them.
        seen = basis.seen(here, batch, values)
        # 2. Gradient: g_i = (f(x + eps e_i) - f(x)) / eps for every direction e_i of V.
        gradient = basis.gradient(here, seen)
        # 3. Samples for the Hessian: fresh where a period begins, then those of steps before.
        samples = basis.samples(here, seen, gradient)
        # 4. Fit: A_j by regularised least squares.
        fitted = basis.fit(here, seen, gradient, samples)
        # 5. Spectrum: |eigenvalues|, floored by kappa; v_j = A_j^-1 g_j in every pair.
        newton = basis.newton(here, seen, fitted)
        # 6. v = sum over j of v_j, embedded in the full space.
        return basis.step(here, seen, samples, fitted, newton)
