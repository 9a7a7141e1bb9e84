"""ZO-PQN in NumPy float64 with a switch for every mechanism; it says what the library's does.

After `tests/reference_zopqn.py`, by the same formulas: dense matrices, one row after another. Exact
values, no bounds, and all coordinates in one block, as in the library's runs of up to 256
parameters. Points of a stage are asked at once; a value that is not finite counts as refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.zopqn_ablation.belief import EPS, MODEL, PAIRS, TINY, Belief
from experiments.benchmarks.zopqn_ablation.settings import Settings

LARGE = (8, 32)  # sizes of the library's batches, of which D must well exceed the least
_RATIOS = 0.25, 0.75  # decrease over the promised one: the trust region shrinks below, grows above
_AS_PROMISED, _TOO_SHORT, _RIM = 0.9, 1.5, 0.99
_CUT, _LOST = 0.4, 0.1  # times a refused step that the trust region shrinks to; without a value

Points = Callable[[np.ndarray], np.ndarray]
"""Points, shape (n, d) -> values, shape (n,)."""


class Reference(Belief):
    """A run; after each `step`, `values` were spent and `value` is f(x)."""

    def __init__(self, f: Points, x: np.ndarray, order: np.ndarray, settings: Settings) -> None:
        """Begin at x; nothing is evaluated yet. Coordinates are met in this order."""
        super().__init__(x, settings)
        d = len(x)
        self.f, self.order, self.kind = f, order, "base"
        self.trust: float | None = None
        self.refused, self.distrust, self.values, self.spent = 0, 0, 0, 0
        self.suspect, self.widening, self.age = np.zeros(d), 1.0, np.zeros(d)
        self.large = min(LARGE) < 0.6 * d
        self.sizes = [m for m in (settings.few, settings.many) if 0 < m < 0.6 * d]
        self._carry()

    def step(self) -> None:
        """One stage. A model that is not finite then (values may be huge) stays what it was."""
        self.spent = self.values
        before = {name: np.copy(getattr(self, name)) for name in (*MODEL, *PAIRS)}
        radius = self.trust
        self._stage()
        for names in (MODEL, PAIRS):
            if not all(np.isfinite(getattr(self, name)).all() for name in names):
                for name in names:
                    setattr(self, name, before[name][()])
        if self.trust is not None and np.isnan(self.trust):
            self.trust = radius

    def _stage(self) -> None:
        if self.kind == "base":
            (self.value,) = self._ask(self.x[None])
            self.start = self.start or abs(self.value)
            self.kind = "whole" if self.all_known() else "meet"
        elif self.kind == "try":
            self._try()
        elif self.kind == "recheck":
            self._recheck()
        elif self.kind == "meet":
            self._meet_next()
        else:
            self._look()
            self.kind = "recheck" if self.suspect.any() else "try"

    def _ask(self, points: np.ndarray) -> np.ndarray:
        self.values += len(points)
        return np.asarray(self.f(points), float)

    def _carry(self) -> None:
        """The gradient is carried, again, and there are no pairs."""
        d = len(self.x)
        self.forget_pairs()
        self.reach, self.along = np.inf, np.zeros(d)
        self.living = self.spent + (self.s.living * d if self.large else 0)

    def _over(self, spent: float) -> bool:
        """Whether the gradient is no longer carried: whole ones are measured, and pairs kept."""
        return self.all_known() and spent >= self.living

    # --- looks ------------------------------------------------------------------------------------

    def _meet_next(self) -> None:
        """The next coordinates, from both sides."""
        d, s = len(self.x), self.s
        met = int((self.W > 0).sum())
        count = d if d <= 4 else min((4, 5, 3), key=lambda e: -d % e)
        count = count if s.steps_within else d
        begin = min(met, d - count)
        chosen = self.order[begin : begin + count]
        error, largest = self.error(), self.W.max()
        guess = np.full(count, largest) if largest > 0 else abs(self.value) / self.unit[chosen] ** 2
        h = 0.1 * self.widening * self.unit[chosen]
        if not s.two_sided:
            h = np.minimum(h, s.difference * np.sqrt(error / np.where(guess > 0, guess, 1)))
            h = np.maximum(h, EPS**0.5 * np.abs(self.x[chosen]))
        h = (self.x[chosen] + h) - self.x[chosen]
        moves = np.zeros((count, d))
        moves[np.arange(count), chosen] = h
        if s.two_sided:
            both = np.stack([moves, -moves], axis=1).reshape(-1, d)
            ahead, behind = (self._ask(self.x + both) - self.value).reshape(-1, 2).T
            slope, curvature = (ahead - behind) / (2 * h), (ahead + behind) / h**2
            new = np.arange(begin, begin + count) >= met
            if np.abs(ahead + behind)[new].max() < s.drowned * error:
                self.widening *= 10
        else:
            ahead = self._ask(self.x + moves) - self.value
            slope, curvature = ahead / h - h / 2 * guess, guess
        flattest = np.abs(slope) / (s.farthest * self.unit[chosen])
        least = np.maximum(s.least_bend * error / h**2, flattest)
        for n in range(count):
            if begin + n >= met:
                self.learn_coordinate(chosen[n], slope[n], curvature[n], least[n])
        self.age[chosen] = self.values
        self.T[0, 0] += self.drift * count / d if s.drifting else 0
        self.kind = "try"

    def _worth(self) -> np.ndarray:
        """Decrease that knowing each derivative promises."""
        flattest = np.maximum(np.diag(self.B), self.s.flattest_worth * self.W)
        return np.diag(self.P) / (2 * np.maximum(flattest, TINY))

    def _ranked(self) -> np.ndarray:
        """Coordinates, those first that are measured first."""
        return np.argsort(-self._worth() if self.s.by_worth else self.age, kind="stable")

    def _look(self) -> None:
        d, s = len(self.x), self.s
        count = d if self.kind == "whole" else int(self.kind)
        chosen = self._ranked()[:count]
        curvature = np.maximum(self.W, np.abs(np.diag(self.B)))
        h = s.difference * np.sqrt(self.error() / curvature)
        h = np.maximum(h, EPS**0.5 * np.abs(self.x))
        h = (self.x + h) - self.x
        moves = np.zeros((count, d))
        moves[np.arange(count), chosen] = h[chosen]
        slope = np.zeros(d)
        slope[chosen] = (self._ask(self.x + moves) - self.value) / h[chosen]
        slope -= h / 2 * np.diag(self.B) if s.corrected else 0
        noise = (self.error() / h) ** 2
        slope = np.where(np.isfinite(slope), slope, np.nan)
        whole = count == d and bool(np.isfinite(slope).all())
        together = whole and bool((self.seen_at == self.seen_at[0]).all())
        if together and self._over(self.spent):
            self.learn_pair(self.x - self.seen_at[0], slope - self.seen, noise)
        if together and s.secant:
            squared = self.learn_gradient(slope, noise)
        else:
            moved = self.x - np.diag(self.seen_at)
            squared = [self.learn_derivative(i, float(slope[i]), float(noise[i])) for i in chosen]
            for i, z in zip(chosen, squared, strict=True):
                if count < d and z is not None and z > s.recheck:
                    back = max(abs(moved[i]), h[i])
                    self.suspect[i] = -back if moved[i] > 0 else back
        self.age[chosen] = self.values
        if whole:
            self.g, self.P = slope.copy(), np.zeros((d, d))
            self.seen, self.seen_at = slope.copy(), np.tile(self.x, (d, 1))
        self.forget([z for z in squared if z is not None], count / d)
        if count == d and not whole and self._over(self.spent):
            self._carry()

    def _recheck(self) -> None:
        i = int(np.argmax(np.abs(self.suspect) * np.sqrt(self.W)))
        s = np.zeros(len(self.x))
        s[i] = (self.x[i] + self.suspect[i]) - self.x[i]
        (value,) = self._ask((self.x + s)[None])
        if np.isfinite(value):
            self.learn_value(s, value - self.value, common=False, hessian=True)
        self.suspect[i] = 0
        self.kind = "recheck" if self.suspect.any() else "try"

    # --- trials -----------------------------------------------------------------------------------

    def _by_pairs(self, spent: float) -> bool:
        return self._over(spent) and self.theta > 0 and self.evidence > self.s.model_better

    def _radius(self) -> float:
        if self.trust is None:
            self.trust = self.s.first_radius * float(np.sqrt((self.W * self.unit**2).max()))
        return self.trust if self.s.bounded else np.inf

    def _solved(self, spent: float) -> tuple[np.ndarray, float]:
        """Step and decrease of the model, or of the secant pairs, within the trust region."""
        if not all(np.isfinite(part).all() for part in (self.B, self.W, self.g, self.R, self.C)):
            return np.zeros(len(self.x)), 0.0
        if self._by_pairs(spent):
            mu, Q = np.linalg.eigh(self.inverse())
            mu = np.maximum(mu, EPS * mu[-1])
            reach = self.reach if self.s.pairs_bounded else np.inf
            return self._within(1 / mu[::-1], Q[:, ::-1], 1 / self.unit, reach)
        there = self.W > 0
        root = np.sqrt(np.where(there, self.W, 1))
        scaled = np.where(np.outer(there, there), self.B / np.outer(root, root), 0)
        w, Q = np.linalg.eigh(scaled + np.diag(1.0 * ~there))
        return self._within(w, Q, root, self._radius())

    def _within(
        self, w: np.ndarray, Q: np.ndarray, root: np.ndarray, radius: float
    ) -> tuple[np.ndarray, float]:
        a = Q.T @ (self.g / root)
        largest, lowest = np.abs(w).max(), max(0.0, -w[0])
        damping = 0.0 if w[0] > 10 * EPS * largest else lowest + 100 * EPS * largest
        w = w + (0 if damping + largest > 0 else EPS)
        if np.linalg.norm(a / (w + damping)) > radius:
            low, high = damping, lowest + float(np.linalg.norm(a)) / radius
            for _ in range(50):
                middle = (low + high) / 2
                outside = np.linalg.norm(a / (w + middle)) > radius
                low, high = (middle, high) if outside else (low, middle)
            damping = high
        p = -a / (w + damping)
        decrease = -float(a @ p + p @ (w * p) / 2)
        step = (Q @ p) / root
        finite = bool(np.isfinite(step).all()) and np.isfinite(decrease)
        return (step, decrease) if finite else (np.zeros(len(step)), 0.0)

    def _try(self) -> None:
        going_on = bool(self.along.any())
        step = self.along if going_on else self._solved(self.spent)[0]
        self.along = np.zeros(len(self.x))
        (new,) = self._ask((self.x + step)[None])
        paired, radius = self._by_pairs(self.values), self._radius()
        change = float(new - self.value)
        came = np.isfinite(change)
        change = change if came else np.inf
        promised = -float(step @ (self.g + self.B @ step / 2))
        ratio = -change / promised if came and promised > 0 else -1.0
        length = float(np.sqrt(step @ (self.W * step)))
        if paired and not going_on:
            self._line(step, change)
        elif not paired and not going_on and length > 0:
            if ratio < _RATIOS[0]:
                self.trust = (_CUT if came else _LOST) * length
            elif ratio > _RATIOS[1]:
                self.trust = max(radius, self.s.grows * length)
        if self.s.least_radius and self.trust is not None:
            far = np.maximum(self.unit, np.abs(self.x))
            self.trust = max(self.trust, EPS * float(np.sqrt((self.W * far**2).max())))
        if came and self.s.values:
            unmet = not self.all_known() and self.s.factors_from_values
            self.learn_value(step, change, unmet, self.s.hessian_from_values)
        better = change < 0
        if better:
            self.move(step)
            self.x, self.value, self.refused = self.x + step, float(new), 0
        else:
            self.refused += 1
        farther = (ratio > _AS_PROMISED and length > _RIM * radius) or ratio > _TOO_SHORT
        self._choose(better or going_on, not better or (farther and self.s.again))

    def _line(self, step: np.ndarray, change: float) -> None:
        """The trust region of the pairs, and whether the parabola along the step ends elsewhere."""
        slope, length = float(self.g @ step), float(np.linalg.norm(step / self.unit))
        promised = -(slope + float(step @ self.product_by_pairs(step)) / 2)
        came, bend = np.isfinite(change), change - slope
        ratio = -change / promised if came and promised > 0 else -1.0
        lowest = -slope / (2 * bend) if came and bend > 0 else np.inf
        if ratio > _RATIOS[1]:
            self.reach = max(self.reach, self.s.grows * length)
        elif ratio < _RATIOS[0] and length > 0:
            cut = float(np.clip(lowest, 0.1, 0.5)) if np.isfinite(lowest) else _CUT
            cut = cut if self.s.parabola else _CUT
            self.reach = (cut if came else _LOST) * length
        rest = float(np.clip(lowest, 0.1, 3)) - 1
        if came and change < 0 and abs(rest) > self.s.elsewhere:
            self.along = rest * step

    def _choose(self, better: bool, again: bool) -> None:
        """What comes next: whatever promises the largest decrease a value."""
        s, d = self.s, len(self.x)
        stuck, carried = self.refused > s.stubborn, not self._over(self.values)
        if not self.all_known():
            waits = not better and not stuck and self.refused < s.patience
            self.kind = "try" if waits else "meet"
        elif not carried or not self.large:
            self.kind = "try" if self.along.any() or not better else "whole"
        else:
            self.kind = self._most_promising(d, again, stuck)
        if stuck:  # f(x) is asked anew, and then the whole gradient
            self.kind, self.refused = "base", 0
            if not carried:
                self.spent = self.values
                self._carry()

    def _most_promising(self, d: int, again: bool, stuck: bool) -> Any:
        s = self.s
        promise = self._solved(self.values)[1]
        worth = np.cumsum(self._worth()[self._ranked()])
        sizes = self.sizes if s.by_promise else self.sizes[:1]
        rates: dict[Any, float] = {m: (worth[m - 1] + promise) / (m + 1) for m in sizes}
        if s.by_promise or not sizes:
            rates["whole"] = (worth[-1] + promise) / (d + 1)
        if again and not stuck:
            rates["try"] = promise
        kind = max(rates, key=rates.__getitem__)
        if self.surprise > s.surprising and (kind != "try" or self.refused > s.patience):
            kind, self.distrust = "whole", s.distrust
        elif kind != "try" and self.distrust > 0:
            kind, self.distrust = "whole", self.distrust - 1
        return kind
