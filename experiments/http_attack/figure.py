"""Each digit, what it was changed to, and the change."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    attacks = results["attacks"]
    with style.figure(path, 1.5 * len(attacks) + 1.2, 4.9) as figure:
        axes = figure.subplots(3, len(attacks), squeeze=False)
        for column, attack in zip(axes.T, attacks, strict=True):
            found = attack["found"]["zosah_jax"]
            original = np.reshape(attack["original"], (8, 8))
            changed = original if found["image"] is None else np.reshape(found["image"], (8, 8))
            grey = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
            column[0].imshow(original, **grey)
            column[1].imshow(changed, **grey)
            column[2].imshow(changed - original, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
            column[0].set_title(f"{attack['digit']}", fontsize=13)
            column[1].set_title(f"read as {found['read_as']}", fontsize=13)
            column[2].set_title(
                "-" if found["distance"] is None else f"{found['distance']:.2f}", fontsize=13
            )
        for one in axes.flat:
            one.set(xticks=[], yticks=[])
            one.grid(visible=False)
        for row, name in zip(axes, ("original", "changed", "change"), strict=True):
            row[0].set_ylabel(name)
