"""The results as a Markdown table."""

from typing import Any

import numpy as np

from experiments.http_attack.run import METHODS
from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows, distances = [], {method: [] for method in METHODS}
    for attack in results["attacks"]:
        cells = [str(attack["digit"])]
        for method in METHODS:
            found = attack["found"][method]
            distances[method].append(np.inf if found["distance"] is None else found["distance"])
            cells.append("-" if found["distance"] is None else _cell(found))
        rows.append(cells)
    rows.append(["median", *(f"{np.median(distances[method]):.2f}" for method in METHODS)])
    return {"table": markdown(["digit", *METHODS], rows)}


def _cell(found: dict[str, Any]) -> str:
    return f"{found['distance']:.2f} (a {found['read_as']}, {found['questions']:,} questions)"
