"""The same runs without the runner's packages, for a machine that has none of them.

Usage: python -m experiments.benchmarks.subspaces.plain --tasks mnist --data-dir DIR --seconds 330
"""

import argparse
import time
from pathlib import Path

from experiments.benchmarks.subspaces.entries import ENTRIES, PLANS
from experiments.benchmarks.subspaces.runs import compare


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--only", nargs="*", choices=list(ENTRIES), default=[])
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/subspaces"))
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--name", default=None, help="of the file of results")
    given = parser.parse_args()
    begun = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)

    kept = given.out / f"{given.name or '-'.join(given.tasks)}.json"
    compare(tuple(given.tasks), given.data_dir, kept, given.seconds, tell, tuple(given.only))


if __name__ == "__main__":
    main()
