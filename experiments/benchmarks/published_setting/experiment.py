"""The published setting: ResNet-8 and ResNet-20 on CIFAR-10 and CIFAR-100, in slices of time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments import experiment
from experiments.benchmarks.published_setting.entries import ENTRIES, LEVELS
from experiments.benchmarks.published_setting.runs import DIVERGED, Cell, Plan, work
from experiments.benchmarks.published_setting.tables import tables
from experiments.common import image_data
from experiments.common.errors import InputError
from experiments.common.networks import NETWORKS


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-SAH and DeepZero on whole networks and whole data, in slices of time.

    A slice goes on where the last one was, and gives the same bits as if nothing had come between.
    It can be killed at any moment: what is lost is the chunk that it was at. CIFAR is not shipped:
    pass --data-dir, or set ZOSAH_DATA; a data set that is not there is left out.
    """

    seconds: float = 600.0
    """Of this slice; it ends with the chunk that it is at."""
    datasets: tuple[str, ...] = ("cifar10", "cifar100")
    """By name."""
    networks: tuple[str, ...] = ("resnet8", "resnet20")
    """By name."""
    methods: tuple[str, ...] = tuple(ENTRIES)
    """Names of entries."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the weights, the methods and the batches; one is done before the next."""
    batch_size: int = 128
    """Images of a value."""
    budget: int = 200_000
    """Values of a run; an assumption, as the paper's own is not known here."""
    chunk: int = 500
    """Values between looks at a run, after each of which it is kept; a step is never cut."""
    data_dir: Path | None = None
    """Folder with CIFAR; else the environment variable ZOSAH_DATA."""
    checkpoints: Path | None = None
    """Folder of what is kept. None: runs/published_setting."""


# --- the measurement ------------------------------------------------------------------------------

_POINTS = 40  # of a run that the figure draws, at most, as they lie evenly on its axis


def measure(config: Config) -> dict[str, Any]:
    """A slice of the work, and what there is after it."""
    experiment.check_names("datasets", config.datasets, LEVELS)
    experiment.check_names("networks", config.networks, NETWORKS)
    experiment.check_names("methods", config.methods, ENTRIES)
    there = _there(config)
    plan = Plan(
        *(there, config.networks, config.methods, config.seeds),
        *(config.batch_size, config.budget, config.chunk, config.seconds),
    )
    folder = config.checkpoints or Path("runs") / "published_setting"
    histories = work(plan, config.data_dir, folder)
    return {
        "datasets": config.datasets,
        "missing": [name for name in config.datasets if name not in there],
        "networks": config.networks,
        "methods": config.methods,
        "seeds": config.seeds,
        "budget": config.budget,
        "chunk": config.chunk,
        "runs": [_brief(cell, history) for cell, history in histories.items() if history["spent"]],
        "cost": _costs(histories),
    }


def _there(config: Config) -> tuple[str, ...]:
    """The data sets that are there.

    Raises:
        InputError: none is.
    """
    found, refused = [], None
    for name in config.datasets:
        try:
            image_data.find(name, config.data_dir)
        except InputError as error:
            print(f"left out: {error}", flush=True)
            refused = error
        else:
            found.append(name)
    if not found and refused is not None:
        raise refused
    return tuple(found)


def _brief(cell: Cell, history: dict[str, list[Any]]) -> dict[str, Any]:
    """What is reported of a run: prices, its end, and some of its way."""
    known = np.array([DIVERGED if loss is None else loss for loss in history["loss"]])
    prices = {}
    for level in LEVELS[cell.dataset]:
        there = np.flatnonzero(known <= level)
        prices[f"{level:g}"] = history["spent"][there[0]] if there.size else None
    some = np.unique(np.geomspace(1, len(known), _POINTS).round().astype(int)) - 1
    return {
        **cell._asdict(),
        "prices": prices,
        "diverged": bool(known[-1] >= DIVERGED),
        **{name: history[name][-1] for name in ("spent", "steps", "loss", "accuracy", "digest")},
        "places": sorted(set(history["place"])),
        "way": {name: [_short(history[name][n]) for n in some] for name in ("spent", "loss")},
    }


def _short(value: Any) -> Any:
    """As many digits as a figure shows."""
    return round(value, 4) if isinstance(value, float) else value


def _costs(histories: dict[Cell, dict[str, list[Any]]]) -> list[dict[str, Any]]:
    """Medians over the chunks of all runs of a kind; a look is the same for all of a network."""
    looks: dict[tuple[str, str], list[float]] = {}
    chunks: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for cell, history in histories.items():
        values, steps = (np.diff([0, *history[name]]) for name in ("spent", "steps"))
        for n, where in enumerate(history["place"]):
            looks.setdefault((where, cell.network), []).append(history["look"][n])
            row = history["seconds"][n] / values[n], values[n] / steps[n]
            chunks.setdefault((where, cell.network, cell.method), []).append(row)
    found = []
    for (where, network, method), known in chunks.items():
        pace, step = np.median(known, axis=0)
        about = {"place": where, "network": network, "method": method, "chunks": len(known)}
        look = float(np.median(looks[where, network]))
        more = {"seconds_a_value": float(pace), "values_a_step": float(step)}
        found.append({**about, **more, "seconds_a_look": look})
    return found


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Training loss of the first seed against values, a panel a network and data set."""
    try:
        from matplotlib.ticker import NullFormatter  # a machine that only measures may have none

        from experiments.common import style
    except ImportError as error:
        print(f"no figure: {error}")
        return
    groups = list(dict.fromkeys((run["network"], run["dataset"]) for run in results["runs"]))
    rows = max(1, -(-len(groups) // 2))
    with style.figure(path, 10.5, 1.6 + 3.4 * rows) as figure:
        panels = np.ravel(figure.subplots(rows, 2))
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        for (network, dataset), axes in zip(groups, panels, strict=False):
            shown = []
            for run in results["runs"]:
                one = (run["network"], run["dataset"], run["seed"])
                if one != (network, dataset, results["seeds"][0]):
                    continue
                number = list(ENTRIES).index(run["method"])
                loss = np.array(run["way"]["loss"], float)
                shown += list(loss[loss < _highest(dataset)])
                axes.plot(
                    run["way"]["spent"],
                    loss,
                    label=ENTRIES[run["method"]].label,
                    color=style.series(number),
                    marker=style.MARKERS[number] if len(loss) < _FEW else None,
                )
            axes.set(xscale="log", xlabel="function values spent", ylabel="training loss")
            axes.xaxis.set_minor_formatter(NullFormatter())
            if shown:
                axes.set_ylim(min(shown) - _MARGIN, max(shown) + _MARGIN)
            axes.set_title(f"{network}, {dataset}")
        lines = {}
        for axes in panels:
            handles, labels = axes.get_legend_handles_labels()
            lines |= dict(zip(labels, handles, strict=True))
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=2)
        figure.suptitle("The published setting, as far as it was run")


def _highest(dataset: str) -> float:
    """Losses above are off the picture: a run that diverges, or one that has not begun to learn."""
    return _ABOVE * max(LEVELS[dataset])


_ABOVE = 2.0  # times the first level that is reported
_MARGIN = 0.05  # of the loss, above and below
_FEW = 15  # points of a line that are marked

EXPERIMENT = experiment.Experiment(
    "published_setting", Config, measure, tables, draw, packages=("flax",)
)
