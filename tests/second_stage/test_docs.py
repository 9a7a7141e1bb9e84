"""The site: built strictly, with every public name, and links that lead somewhere; its scripts."""

import doctest
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax.methods import METHODS, default_method

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
# A script for each job of the decision page; the others belong to pages of how to.
JOBS = (
    "traced", "simulator", "noisy_device", "ask_tell", "optax_loop", "scipy_method", "residuals",
    "forward_passes", "flax_values",
)  # fmt: skip
MODULES = (
    "zosah_jax",
    "zosah_jax.methods",
    "zosah_jax.evaluate",
    "zosah_jax.transforms",
    "zosah_jax.host",
    "zosah_jax.forward",
    "zosah_jax.plot",
    "zosah_jax.extras",
)
INTEGRATIONS = ("flax", "scipy", "dask")


# --- the site -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Links and anchors of a page, its text without the code, and where it loads from."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self._depth_of_code = 0
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.update(filter(None, (found.get("id"), found.get("name") if tag == "a" else None)))
        self._depth_of_code += tag in ("code", "pre", "script", "style", "annotation")
        if tag in ("img", "script", "iframe") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])

    def handle_endtag(self, tag):
        self._depth_of_code -= tag in ("code", "pre", "script", "style", "annotation")

    def handle_data(self, data):
        if not self._depth_of_code:
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    found = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(found) > 70
    return found


def public_names() -> list[str]:
    names = [
        f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__
    ]
    for integration in INTEGRATIONS:
        module = importlib.import_module(f"zosah_jax.integrations.{integration}")
        names += [
            f"{module.__name__}.{name}"
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    return names


def entries(site: Path) -> dict[str, str]:
    """Names of the inventory, and where they are."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    found = {}
    for line in zlib.decompress(packed).decode().splitlines():
        name, _, _, address, _ = line.split(" ", 4)
        found[name] = address.replace("$", name)
    return found


def test_every_public_name_has_an_entry(site, pages):
    inventory, names = entries(site), public_names()
    assert len(names) > 100
    assert {f"zosah_jax.integrations.flax.{name}" for name in ("train_step", "TrainState")} <= set(
        names
    )
    missing = [name for name in names if name not in inventory]
    assert not missing
    for name in names:
        page, _, anchor = inventory[name].partition("#")
        assert anchor in pages[site / page].ids, name


def test_every_public_name_has_an_example():
    """Those of the package's own are run with its doctests."""
    for name in public_names():
        module, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(module), last)
        if callable(value):
            assert doctest.DocTestParser().get_examples(inspect.getdoc(value) or ""), name


def test_every_name_of_the_package_is_listed_by_a_module_that_is_checked(site):
    modules = {name for name in zosah_jax.__all__ if inspect.ismodule(getattr(zosah_jax, name))}
    assert {f"zosah_jax.{name}" for name in modules} <= set(MODULES)


def test_every_internal_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            target = path
            if parts.path:
                base = site if parts.path.startswith("/") else path.parent
                target = (base / unquote(parts.path).lstrip("/")).resolve()
                target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            lost = not target.is_file() or (
                anchor and target.suffix == ".html" and anchor not in pages[target].ids
            )
            if lost and not anchor.startswith("__"):  # Material's: states of a page, not places
                broken.append((str(path.relative_to(site)), link))
    assert not broken


def test_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        assert not [src for src in page.loaded if urlsplit(src).netloc], path


def test_search_finds_what_pages_say(site):
    index = json.loads((site / "search" / "search_index.json").read_text())
    texts = {entry["location"]: entry["title"] + entry["text"] for entry in index["docs"]}
    for words in ("covariance", "undetermined", "LocalCluster", "num_evaluations"):
        assert any(words in text for text in texts.values()), words
    assert any(place.startswith("reference/methods/zosah.html") for place in texts)


def test_no_markup_is_left_in_the_text_of_a_page(site, pages):
    """Neither reStructuredText of docstrings, nor formulas or snippets that nothing took up."""
    for path, page in pages.items():
        if path.is_relative_to(site / "source"):
            continue
        for mark in (".. math", ":math:", ">`_", "--8<--", "\\frac", "$$", "](", "::: "):
            assert mark not in page.text, (path, mark)


def test_formulas_are_drawn_by_the_browser(site):
    text = (site / "theory" / "zosah.html").read_text()
    assert text.count("<math") > 20
    assert "arithmatex" not in text


def test_tables_of_measurements_are_those_that_the_runner_wrote(site, pages):
    experiments = sorted((ROOT / "experiments").glob("*/*/README.md"))
    assert len(experiments) > 20
    for readme in experiments:
        name = readme.parent.name
        text = " ".join(pages[site / "measurements" / f"{name}.html"].text.split())
        assert text.count(readme.read_text().splitlines()[0].removeprefix("# ")), name
    numbers = (ROOT / "experiments/benchmarks/cutest/README.md").read_text()
    row = next(line for line in numbers.splitlines() if line.startswith("| NEWUOA"))
    shown = pages[site / "measurements" / "cutest.html"].text
    assert all(cell.strip() in shown for cell in row.split("|"))


# --- its scripts ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_script_runs_anywhere_without_a_warning(script, tmp_path):
    out = run([sys.executable, "-W", "error", str(script)], tmp_path)
    assert out.strip()


def test_script_runs_on_several_processes_of_mpi(tmp_path):
    script = ROOT / "docs" / "examples" / "on_mpi.py"
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    out = run([mpiexec, "-n", "2", sys.executable, "-W", "error", str(script)], tmp_path)
    value, number = out.split()
    assert float(value) < 1e-12
    assert int(number) <= 60


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_job_has_a_script_of_fifteen_lines():
    page = (ROOT / "docs" / "choose.md").read_text()
    for name in JOBS:
        text = (ROOT / "docs" / "examples" / f"{name}.py").read_text()
        assert len([line for line in text.splitlines() if line.strip()]) <= 15, name
        assert f'--8<-- "{name}.py"' in page


def test_the_method_that_is_chosen_is_the_one_that_the_decision_page_names():
    page = (ROOT / "docs" / "choose.md").read_text()
    table = page[page.index("| parameters | values") : page.index("Name another one")]
    rows = [
        [re.sub(r"[`\[]|\].*", "", cell).strip() for cell in row.split("|")[1:-1]]
        for row in table.strip().splitlines()[2:]
    ]
    ends = [int(re.sub(r"\D", "", row[0])) for row in rows[:-1]]
    sizes = list(zip([1, *(end + 1 for end in ends)], [*ends, 5000], strict=True))
    assert len(sizes) > 3
    for row, of_row in zip(rows, sizes, strict=True):
        for d in of_row:
            x = np.zeros(d, np.float32)
            chosen = [
                default_method(x, noisy=noisy, bounded=bounded)
                for noisy, bounded in ((False, False), (False, True), (True, False))
            ]
            assert [METHODS[name] for name in row[1:]] == [type(method) for method in chosen], d


def test_every_script_is_on_a_page():
    text = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for script in EXAMPLES:
        assert f'--8<-- "{script.name}"' in text


def test_the_log_has_the_keys_of_its_page_and_each_line_is_json(tmp_path):
    page = (ROOT / "docs" / "how-to" / "resume.md").read_text()
    table = page[page.index("| key | what it holds |") :].split("\n\n")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))

    def simulator(x):
        if x[0] > 0.9:
            raise FloatingPointError
        return x - 1

    log, x0 = tmp_path / "values.jsonl", np.zeros(2)
    host = zosah_jax.Host(log=log, retries=0)
    zosah_jax.least_squares(simulator, x0, budget=9, noise=0, host=host)
    first, *lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert set(first) == {"problem", "budget"}
    assert set().union(*lines) == documented == {"at", "value", "seconds", "error", "point"}
    for line in lines:
        purpose, *numbers = line["at"]
        assert purpose in ("noise", "batch", "last")
        assert [type(number) for number in numbers] == [int, int, int]
        assert (line["value"] is None) == ("error" in line)
    pandas = pytest.importorskip("pandas")
    calls = pandas.read_json(log, lines=True).iloc[1:]
    assert len(calls) == len(lines)
    assert calls["value"].isna().sum() == sum(line["value"] is None for line in lines) > 0
    assert calls["at"].str[0].value_counts()["batch"] == len(lines)


def raised(run) -> str:
    try:
        run()
    except Exception as error:
        return str(error)
    raise AssertionError("nothing was raised")


def test_the_library_says_what_the_page_of_errors_lists():
    """Each row of the table that is words of an error, by what raises it."""
    page = (ROOT / "docs" / "how-to" / "errors.md").read_text()
    table = page[page.index("| error |") :].split("\n\n")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    minimize, x = zosah_jax.minimize, jnp.ones(2)
    host = zosah_jax.Host(max_workers=1)
    chain = optax.chain(zosah_jax.zosah(1.0), optax.trace(0.9))
    bowl = lambda x: jnp.sum(x**2)  # noqa: E731
    mesh = jax.make_mesh((1,), ("probes",))
    ways = [
        lambda: minimize(lambda x: float(x[0]), x, budget=40),
        lambda: minimize(bowl, x, zosah_jax.zosah(1.0), budget=3),
        lambda: minimize(bowl, x, budget=40, bounds=(2, 3)),
        lambda: minimize(bowl, jnp.ones(1), zosah_jax.zosah(1.0), budget=40),
        lambda: minimize(bowl, jnp.ones(2, int), budget=40),
        lambda: minimize(bowl, x, chain, budget=40),
        lambda: zosah_jax.least_squares(bowl, x, budget=40),
        lambda: minimize(lambda x: 0.0, np.ones(2), budget=40, host=host),
        lambda: zosah_jax.AskTell(np.ones(2)).tell([1.0]),
        lambda: zosah_jax.sharded(mesh),
        lambda: jax.jit(lambda x: minimize(bowl, x, budget=40, progress=True))(x),
    ]
    said = [raised(way) for way in ways]
    elsewhere = ("max_workers: got worker processes", "log: ... is being written")  # its own tests
    for words in listed:
        if not words.startswith(elsewhere):
            pattern = ".*".join(re.escape(part) for part in words.split("..."))
            assert any(re.match(pattern, message) for message in said), words


def test_the_method_of_the_page_sits_in_every_face(tmp_path):
    """It is a method like any other: hashable, compiled once, told of values that are missing."""
    code = f"""
import runpy, numpy as np, jax, jax.numpy as jnp, zosah_jax
names = runpy.run_path({str(ROOT / "docs" / "examples" / "own_method.py")!r})
method = names["RandomSearch"]
assert method(4) == method(4) and hash(method(4)) == hash(method(4)) and method(4) != method(5)
solver = zosah_jax.AskTell(np.zeros(3), method())
while solver.num_evaluations < 600:
    values = [float(((x - 1) ** 2).sum()) for x in solver.ask()]
    values[2] = None
    solver.tell(values)
assert solver.best_value < 1e-4, solver.best_value
f = lambda x: jnp.sum((x - 1) ** 2)
runs = jax.vmap(lambda k: zosah_jax.minimize(f, jnp.zeros(3), method(), budget=400, key=k))
assert (runs(jax.random.split(jax.random.key(0), 3)).value < 1e-2).all()
print("done")
"""
    assert run([sys.executable, "-W", "error", "-c", code], tmp_path).endswith("done\n")
