"""What tests allow for rounding: less with the versions that their numbers were recorded with."""

from importlib.metadata import version

SAME_ORDER_OF_SUMS = tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 11)


def allowed(here, elsewhere):
    """The tolerance: `here` where sums are in the order of development's versions of jaxlib."""
    return here if SAME_ORDER_OF_SUMS else elsewhere
