"""Every number and switch of ZO-PQN that an ablation turns, with its value in the library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The method; `Settings()` is the library's. Times are in whole values, lengths in units."""

    # --- coordinates that are not yet known
    two_sided: bool = True
    """Both sides of a new coordinate are asked, which tells its curvature too."""
    steps_within: bool = True
    """Steps are tried between the batches of new coordinates."""
    patience: int = 3
    """Rejected steps in a row after which further coordinates are measured."""
    drowned: float = 30.0
    """Second differences below so many errors of a value are noise: the next ones are wider."""
    own_units: bool = True
    """First differences are in units of max(|x_i|, rms of x), not in absolute ones."""

    # --- what is not known of B
    spread: float = 0.3
    """Standard deviation of B_ij over sqrt(B_ii B_jj) before anything is seen."""
    factor: float = 0.3
    """Standard deviation of the common factor of all curvatures; 0: there is none."""
    correlation: float = 0.3
    """The same of the common correlation of all coordinates."""
    drifting: bool = True
    """The common factor becomes less certain with time."""
    drift_rate: float = 0.2
    """At which that drift is learnt."""
    factors_from_slopes: bool = True
    """The common modes learn from derivatives."""
    factors_from_values: bool = True
    """They learn from the values of steps of the first sweep."""
    rows: bool = True
    """B learns from the change of a single derivative."""
    secant: bool = True
    """Two whole gradients are one secant pair to B, not D single derivatives."""
    values: bool = True
    """g and B learn from the value of a step."""
    hessian_from_values: bool = True
    """B learns from the value of a step, not g alone."""
    certain: bool = True
    """V shrinks by what was learnt."""
    certain_by_pairs: float = 0.9
    """Part of V along a secant pair that goes."""
    forget: float = 0.3
    """Most of V that returns to its prior with a sweep over all coordinates."""
    forget_by_surprise: bool = True
    """It returns as far as the model was surprised."""

    # --- the metric W
    renewed_scale: bool = True
    """W follows the diagonal of B."""
    smallest: float = 1e-3
    """Least entry of W over its largest."""
    farthest: float = 100.0
    """Units within which the least curvature ends a slope."""
    least_bend: float = 4.0
    """Errors of a value that the first second difference counts at least."""

    # --- what is measured next
    living: float = 8.0
    """Values a coordinate for which the gradient is carried from step to step."""
    few: int = 8
    """Derivatives of a small batch; 0: there is none."""
    many: int = 32
    """Derivatives of a large batch; 0: there is none."""
    by_promise: bool = True
    """The size of a batch is the one that promises most a value; else the first one."""
    by_worth: bool = True
    """A batch takes what promises most; else what was measured longest ago."""
    flattest_worth: float = 1e-2
    """Least curvature that a promise divides by, over W."""
    again: bool = True
    """A step may follow a good step at once."""
    curving: float = 0.05
    """Relative change of the curvature over a step of unit length."""
    doubted_modes: bool = True
    """The doubt of the common modes counts in that of a carried gradient."""
    surprising: float = 2.0
    """Mean square of standardised errors above which whole gradients are measured."""
    distrust: int = 10
    """Steps for which they are measured then."""
    surprise_rate: float = 0.3
    """At which that mean is gathered."""
    recheck: float = 4.0
    """Squared standardised error above which a curvature is measured again."""
    most_surprising: float = 100.0
    """Squared standardised error that counts at most."""
    difference: float = 6.0
    """Length of a difference over the sqrt of the error of a value by the curvature."""
    corrected: bool = True
    """Differences are corrected by B_ii."""

    # --- secant pairs
    model_better: float = -1.0
    """Evidence below which the model's Hessian is taken, not that of the pairs."""
    evidence_rate: float = 0.3
    """At which it is gathered."""
    most_certain: float = 3.0
    """Logarithm of a quotient of errors that counts at most."""
    renewed_prior: bool = True
    """The size of what no pair has told is that of the newest pair, not of the first."""
    pair_doubt: float = 2.0
    """Standard deviations by which the curvature of a pair must exceed its noise."""
    elsewhere: float = 0.3
    """Part of a step by which the parabola along it must end elsewhere for another trial."""
    parabola: bool = True
    """The parabola along a rejected step says how far the trust region of the pairs shrinks."""

    # --- the trust region
    first_radius: float = 2.0
    """Units of the first step."""
    bounded: bool = True
    """The model's steps have a trust region."""
    pairs_bounded: bool = True
    """The steps of the pairs have one."""
    grows: float = 2.0
    """Times a good step that the trust region grows to."""
    least_radius: bool = True
    """The trust region stays above the rounding of x."""
    stubborn: float = 10
    """Rejected steps in a row after which everything is measured anew."""
