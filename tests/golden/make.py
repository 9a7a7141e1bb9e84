"""Write the golden trajectories: `python -m golden.make` in `tests/`, by code that is trusted.

`trajectories.json` was made by the code as it stood before the core was rebuilt around stages
(commit 08fb46e). It is made anew only where a published method is meant to change.
"""

import json
from pathlib import Path

import jax
from golden.runs import RUNS, run

PATH = Path(__file__).with_name("trajectories.json")


def recorded(name):
    """A run as it is kept."""
    points, counts = run(name)
    return {"points": points.tolist(), "num_evaluations": counts.tolist()}


if __name__ == "__main__":
    with jax.enable_x64(True):
        lines = [f'"{name}": {json.dumps(recorded(name))}' for name in RUNS]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
