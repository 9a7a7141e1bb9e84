"""The time that a measurement may take as a whole."""

import time


class Clock:
    """Tells what is left, and what is done when.

    Args:
        seconds: for all.
    """

    def __init__(self, seconds: float) -> None:
        self._begin, self._seconds = time.perf_counter(), seconds

    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    def left(self) -> float:
        """Seconds."""
        return self._seconds - self.spent()

    def tell(self, what: str) -> None:
        """Print what begins now, at once."""
        print(f"[{self.spent():6.1f} s] {what}", flush=True)
