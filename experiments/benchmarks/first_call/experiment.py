"""What a run costs beside its values: imports, first and later calls, memory, lanes, own work."""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import rosen
from sklearn.datasets import load_breast_cancer

import experiments.experiment as base
import zosah_jax
from experiments.common import style


@dataclass(frozen=True)
class Config(base.Config):
    """Processor seconds and counts, each figure in processes of their own."""

    repeats: int = 5
    """Processes of each kind; the median is reported, with the range."""
    imports: int = 11
    """Processes of each import."""
    starts: int = 32
    """Starts of the runs that `jax.vmap` takes together."""
    budget: int = 600
    """Values of each of these."""
    objectives: int = 200
    """Python functions that one process minimises."""


# --- what a process of its own measures -----------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    """Chained, of any dimension."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


_COBYQA = """
import json, time
import numpy as np
from scipy.optimize import minimize, rosen
found = minimize(rosen, np.full(10, 0.1), method="COBYQA", options={"maxfev": 1000})
print(json.dumps({"value": float(found.fun), "seconds": time.process_time()}))
"""

_OURS = """
import json, time
import jax.numpy as jnp
import zosah_jax
def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
found = zosah_jax.minimize(rosenbrock, jnp.full(10, 0.1), budget=1_000)
print(json.dumps({"value": float(found.value), "seconds": time.process_time()}))
"""


_IMPORTS = ("import optax", "import zosah_jax", "from zosah_jax import minimize")


def imports(repeats: int) -> dict[str, list[float]]:
    """Processor seconds of processes that import, in turn; every module's bytecode is kept."""
    seconds: dict[str, list[float]] = {code: [] for code in _IMPORTS}
    with tempfile.TemporaryDirectory() as kept:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": kept, "PYTHONDONTWRITEBYTECODE": ""}

        def run(code: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-W", "error", "-c", code]
            subprocess.run(command, check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

        for code in _IMPORTS:  # compiled here
            run(code)
        for _ in range(repeats):
            for code, times in seconds.items():
                times.append(run(code))
    return seconds


def first_calls() -> dict[str, float]:
    """Processor seconds of the first `minimize` of two parameters: RSPG's, then the default's."""
    seconds = {}
    for name, method in (("rspg", zosah_jax.rspg(1e-4)), ("default", None)):
        start = time.process_time()
        found = zosah_jax.minimize(rosenbrock, jnp.full(2, 0.1), method, budget=1_000)
        jax.block_until_ready(found.value)
        seconds[name] = time.process_time() - start
    return seconds


def again() -> dict[str, Any]:
    """Four runs, each with a method and a function of its own; and maps of memory after each."""
    seconds, maps = [], []
    for number in range(4):
        start = time.process_time()
        function = lambda x, c=float(number): rosenbrock(x) + c * 0  # noqa: E731
        found = zosah_jax.minimize(
            function, jnp.full(2, 0.1), zosah_jax.methods.zopqn(), budget=1_000
        )
        jax.block_until_ready(found.value)
        seconds.append(time.process_time() - start)
        maps.append(_memory_maps())
    return {"seconds": seconds, "maps": maps}


def python_objectives(count: int) -> dict[str, Any]:
    """Maps of memory while one process minimises so many Python functions."""
    maps = []
    for number in range(count):
        shift = np.linspace(0, 1, 4) + number
        zosah_jax.minimize(
            lambda x, s=shift: float(((x - s) ** 2).sum()),
            np.zeros(4),
            budget=30,
            host=zosah_jax.Host(),
        )
        maps.append(_memory_maps())
    return {"after_10": maps[9], "after_all": maps[-1]}


def _memory_maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def lanes(starts: int, budget: int) -> dict[str, dict[str, float]]:
    """Seconds of runs from many starts: one call after another, and by one `jax.vmap`."""
    rows, labels = map(np.asarray, load_breast_cancer(return_X_y=True))
    rows = np.c_[(rows - rows.mean(0)) / rows.std(0), np.ones(len(rows))]
    signed = jnp.asarray(rows * (2 * labels - 1)[:, None], jnp.float32)
    draws = np.random.default_rng(0).normal(size=(starts, rows.shape[1]))
    x0 = jnp.asarray(0.1 * draws, jnp.float32)

    def loss(w: Any) -> Any:
        return jnp.mean(jnp.logaddexp(0.0, -(signed @ w))) + 5e-5 * jnp.sum(w**2)

    found = {}
    methods = {
        "default": None,
        "zosah": zosah_jax.methods.zosah(),
        "rspg": zosah_jax.rspg(0.1),
    }
    for name, method in methods.items():

        def run(x: Any, method: Any = method) -> Any:
            return zosah_jax.minimize(loss, x, method, budget=budget).value

        together = jax.jit(jax.vmap(run))
        found[name] = {
            "one after another": _seconds(lambda run=run: [run(x) for x in x0]),
            "together": _seconds(lambda together=together: together(x0)),
        }
    return found


def _seconds(work: Callable[[], Any]) -> float:
    """Median of three, compiled before."""
    jax.block_until_ready(work())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def own_work() -> dict[str, float]:
    """Milliseconds of `ask` and `tell` a value, d = 20, by method."""
    found = {}
    for name in ("default", "zosah", "rspg"):
        method = None if name == "default" else getattr(zosah_jax.methods, name)()
        solver = zosah_jax.AskTell(np.linspace(-1.5, 1.5, 20), method)
        while solver.num_evaluations < 600:  # every stage is compiled
            solver.tell([rosen(x) for x in solver.ask()])
        start, before, asked = time.perf_counter(), solver.num_evaluations, 0.0
        while solver.num_evaluations < before + 2_000:
            points = solver.ask()
            begin = time.perf_counter()
            values = [rosen(x) for x in points]
            asked += time.perf_counter() - begin
            solver.tell(values)
        spent = solver.num_evaluations - before
        found[name] = 1e3 * (time.perf_counter() - start - asked) / spent
    return found


def traces() -> dict[str, int]:
    """How often one `update` and one `minimize` call the user's function, default method."""
    calls: list[int] = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return rosenbrock(x)

    x = jnp.full(4, 0.1)
    tx: Any = zosah_jax.zopqn()
    jax.jit(lambda x, s: tx.update(None, s, x, value_fn=counted))(x, tx.init(x))
    update = len(calls)
    zosah_jax.minimize(counted, x, budget=50)
    return {"update": update, "minimize": len(calls) - update}


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Run every part in processes of its own."""
    here = "from experiments.benchmarks.first_call import experiment as e; import json; "

    def own(call: str) -> Any:
        return _process(f"{here}print(json.dumps(e.{call}))")

    firsts = [own("first_calls()") for _ in range(config.repeats)]
    wholes = [(_process(_OURS), _process(_COBYQA)) for _ in range(config.repeats)]
    repeated = [own("again()") for _ in range(config.repeats)]
    return {
        "imports": imports(config.imports),
        "first_call": {
            "rspg": [run["rspg"] for run in firsts],
            "default": [run["default"] for run in firsts],
        },
        "whole_process": {
            "ours": [ours["seconds"] for ours, _ in wholes],
            "cobyqa": [theirs["seconds"] for _, theirs in wholes],
        },
        "again": repeated,
        "python_objectives": own(f"python_objectives({config.objectives})"),
        "lanes": own(f"lanes({config.starts}, {config.budget})"),
        "own_work_ms": own("own_work()"),
        "traces": own("traces()"),
    }


def _process(source: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _ratio(above: list[float], below: list[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """One table: what, and how much."""
    first, whole = results["first_call"], results["whole_process"]
    repeated = [sum(r["seconds"][1:]) / 3 / r["seconds"][0] for r in results["again"]]
    growth = [(r["maps"][3] - r["maps"][0]) / 3 for r in results["again"]]
    objectives = results["python_objectives"]
    imported, optax_alone = results["imports"], results["imports"]["import optax"]
    rows = [
        *(
            [f"`{code}` over `import optax`", _ratio(seconds, optax_alone)]
            for code, seconds in imported.items()
            if seconds is not optax_alone
        ),
        ["first `minimize`, d = 2: default over RSPG", _ratio(first["default"], first["rspg"])],
        ["the same, default, processor seconds", f"{statistics.median(first['default']):.2f}"],
        ["Rosenbrock d = 10, 1,000 values, whole process over COBYQA's",
         _ratio(whole["ours"], whole["cobyqa"])],
        ["second to fourth run over the first, methods made anew",
         f"{statistics.median(repeated):.3f}"],
        ["memory maps that a run adds", f"{statistics.median(growth):.0f}"],
        ["memory maps after 10 and after all Python functions",
         f"{objectives['after_10']}, {objectives['after_all']}"],
        *(
            [f"`jax.vmap` over starts, over one call after another: {name}",
             f"{seconds['together'] / seconds['one after another']:.2f}"]
            for name, seconds in results["lanes"].items()
        ),
        *(
            [f"`ask` and `tell` a value, d = 20, ms: {name}", f"{ms:.3f}"]
            for name, ms in results["own_work_ms"].items()
        ),
        ["calls of the user's function by one `update`, by one `minimize`",
         f"{results['traces']['update']}, {results['traces']['minimize']}"],
    ]  # fmt: skip
    head = ["| what | measured: median (range) |", "|:--|:--|"]
    return {"first_call": "\n".join([*head, *(f"| {what} | {much} |" for what, much in rows)])}


def draw(results: dict[str, Any], path: Path) -> None:
    """Processor seconds of whole processes and of first calls."""
    with style.figure(path, 8, 3.2) as figure:
        ax = figure.subplots()
        bars = {
            "first call, RSPG": results["first_call"]["rspg"],
            "first call, default": results["first_call"]["default"],
            "whole process, COBYQA": results["whole_process"]["cobyqa"],
            "whole process, default": results["whole_process"]["ours"],
        }
        for place, (_, seconds) in enumerate(bars.items()):
            ax.barh(place, statistics.median(seconds), height=0.6, color=style.series(place))
        ax.set(yticks=range(len(bars)), yticklabels=list(bars), xlabel="processor seconds")


EXPERIMENT = base.Experiment("first_call", Config, measure, tables, draw)
