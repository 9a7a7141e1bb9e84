"""How the house is built: who imports whom, what is public, what a method of one's own needs."""

import ast
import doctest
import importlib
import inspect
import pickle
import re
import tomllib
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import methods
from zosah_jax.method import (
    Batch,
    Method,
    Outcome,
    Problem,
    exact_problem,
    values_per_stage,
    without_key,
)
from zosah_jax.methods import METHODS
from zosah_jax.methods.zosah.reading import Reading
from zosah_jax.moved import GONE, MOVED
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import address_of

ROOT = Path(zosah_jax.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
EXTRAS = ("flax", "scipy", "matplotlib", "orbax", "tqdm", "dask", "distributed")
# What the faces stand on; none of it knows them.
BELOW = (
    "method", "probes", "pytree", "bounds", "drive", "switch", "result", "checks", "blocks",
    "permutation", "methods", "evaluate",
)  # fmt: skip


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path, *, at_import=False):
    """Modules that a source names in its imports; those that run as it is imported, or all."""
    tree = ast.parse(path.read_text())
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if at_import and (
                isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING")
            ):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative imports"
                found.add(child.module)
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(tree)
    return found


def names(modules, *packages):
    """Those of the modules that are one of the packages or within it."""
    return {m for m in modules if any(m == p or m.startswith(f"{p}.") for p in packages)}


# --- who imports whom -----------------------------------------------------------------------------


def test_what_the_faces_stand_on_does_not_know_them():
    below = [p for p in SOURCES if names([name_of(p)], *(f"zosah_jax.{m}" for m in BELOW))]
    assert len(below) > 40
    for path in below:
        known = names(
            imports_of(path), "zosah_jax.faces", "zosah_jax.extras", "zosah_jax.integrations"
        )
        assert not known, path
        top = {m for m in imports_of(path) if m == "zosah_jax"}
        assert not top, f"{path}: imports the whole library"


def test_a_method_knows_no_other_way_to_run_it():
    """It asks and is told: no evaluator, no driver."""
    for path in (ROOT / "methods").rglob("*.py"):
        known = names(imports_of(path), "zosah_jax.evaluate", "zosah_jax.drive", "zosah_jax.switch")
        assert not known, path


def test_the_library_imports_no_experiment_no_test_and_no_notebook():
    for path in SOURCES:
        assert not names(imports_of(path), "experiments", "tests", "notebooks"), path


def test_extras_are_imported_where_they_are_used_alone():
    for path in SOURCES:
        if "integrations" not in path.parts:
            assert not names(imports_of(path, at_import=True), *EXTRAS), path


def test_no_cycle_of_imports():
    modules = {name_of(path): path for path in SOURCES}
    graph = {
        name: {m for m in imports_of(path, at_import=True) if m in modules} - {name}
        for name, path in modules.items()
        if path.name != "__init__.py"  # a package is imported before its parts
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done or name not in graph:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        done.add(path.pop())

    for name in graph:
        visit(name)


# --- sources --------------------------------------------------------------------------------------


def test_no_file_is_longer_than_it_can_be_read():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in SOURCES}
    assert not {name: n for name, n in lengths.items() if n > 400}


def test_every_module_says_what_it_is():
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), path
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "misc", "common")]


def test_nothing_is_left_undone():
    words = ("NotImplementedError", "TODO", "FIXME", "XXX")
    for path in SOURCES:
        text = path.read_text()
        assert not [word for word in words if word in text], path


# --- what is public -------------------------------------------------------------------------------

PUBLIC = [
    "zosah_jax",
    "zosah_jax.methods",
    "zosah_jax.evaluate",
    "zosah_jax.transforms",
    "zosah_jax.host",
    "zosah_jax.forward",
    "zosah_jax.plot",
    "zosah_jax.extras",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_exist_and_are_documented_with_an_example(module):
    module = importlib.import_module(module)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value) or not callable(value):
            continue
        doc = inspect.getdoc(value)
        assert doc, name
        first = doc.splitlines()[0]
        assert first.endswith("."), f"{name}: {first}"
        assert "Example" in doc, name
        assert doctest.DocTestParser().get_examples(doc), name


def test_the_version_is_in_one_place_and_cited():
    root = ROOT.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "zosah_jax/__init__.py"
    citation = (root / "CITATION.cff").read_text()
    assert f"\nversion: {zosah_jax.__version__}\n" in citation
    assert f"\n## {zosah_jax.__version__}" in (root / "CHANGELOG.md").read_text()


def test_the_top_level_is_what_it_was_meant_to_be():
    scaled = {f"scale_by_{name}" for name in METHODS}
    others = {
        "AskTell", "Host", "LeastSquaresResult", "Result", "Status", "as_optax", "automatic",
        "grouped", "in_chunks", "least_squares", "minimize", "num_evaluations", "one_by_one",
        "sharded",
    }  # fmt: skip
    modules = {"evaluate", "extras", "forward", "host", "methods", "plot", "transforms"}
    assert set(zosah_jax.__all__) == set(METHODS) | scaled | others | modules
    assert {name for name in methods.__all__ if name in METHODS} == set(METHODS)


def test_names_of_the_version_before_still_work_with_a_warning():
    for name, place in MOVED.items():
        module, _, last = f"zosah_jax.{place}".rpartition(".")
        with pytest.warns(DeprecationWarning, match=f"zosah_jax.{name} is zosah_jax.{place} now"):
            old = getattr(zosah_jax, name)
        assert old is getattr(importlib.import_module(module), last)
        assert name not in zosah_jax.__all__

    def f(x):
        return float(((x - 1) ** 2).sum())

    with pytest.warns(DeprecationWarning, match=r"minimize\(..., host=zosah_jax.Host"):
        old = zosah_jax.minimize_blackbox(f, np.zeros(3), budget=40, retries=0)
    new = zosah_jax.minimize(
        f, np.zeros(3), budget=40, host=zosah_jax.Host(retries=0), noise="estimate"
    )
    with pytest.warns(DeprecationWarning, match=r"Result.best_value is Result.value now"):
        assert old.best_value == new.value
    with pytest.warns(DeprecationWarning, match=r"Result.best_params is Result.params now"):
        np.testing.assert_array_equal(old.best_params, new.params)
    with (
        pytest.warns(DeprecationWarning, match="minimize_blackbox is"),
        pytest.raises(TypeError, match="checkpoint: is gone, wanted log="),
    ):
        zosah_jax.minimize_blackbox(f, np.zeros(3), budget=40, checkpoint="here")
    for name in GONE:
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; wanted zosah_jax."):
            getattr(zosah_jax, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        zosah_jax.nothing  # noqa: B018


@pytest.mark.parametrize("name", METHODS)
def test_a_constructor_tells_its_options_and_takes_them(name):
    method, make, scale = (
        METHODS[name],
        getattr(zosah_jax, name),
        getattr(zosah_jax, f"scale_by_{name}"),
    )
    options = [f.name for f in fields(method)]
    own = [option for option in options if option != method.learning_rate_option]
    assert set(inspect.signature(make).parameters) == {"learning_rate", *own, "evaluator"}
    assert set(inspect.signature(scale).parameters) == {*options, "evaluator"}
    assert make.__name__ == name
    assert scale.__name__ == f"scale_by_{name}"
    for documented in (make, scale):
        for section in ("Args:", "Returns:", "Raises:", "Example:", "References:"):
            assert section in documented.__doc__, section
        listed = re.search(r"^Args:\n(.*?)\n\n", documented.__doc__, re.DOTALL | re.MULTILINE)
        assert listed is not None
        found = set(re.findall(r"^    (\w+): ", listed[1], re.MULTILINE))
        assert found == set(inspect.signature(documented).parameters)
    tx = make(0.5, key=7)
    assert (tx.method.key, tx.learning_rate) == (7, 0.5)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert scale(key=7).learning_rate is None


# --- methods are values ---------------------------------------------------------------------------

OTHER_OPTIONS = {
    "quadratic_regression": {"num_points": 2},
    "noisy_regression": {"num_points": 4},
    "noisy_descent": {"num_pairs": 2},
    "block_newton": {"block_dim": 2},
    "zosah": {"groups": np.array([[0, 1], [2, 3]]), "reading": Reading(fit="paper")},
    "rspg": {"num_directions": 3},
    "mezo": {"smoothing": 0.5},
    "mezo_bcd": {"blocks": "leaf"},
    "hizoo": {"smoothing": 0.5},
    "fzoo": {"num_directions": 3},
    "zoha": {"hessian": "diag"},
    "zo_rsn": {"differences": "forward"},
    "deepzero": {"density": {"a": 0.5, "b": [1.0]}},
    "eggroll": {"num_pairs": 3},
    "lozo": {"rank": 1},
    "zo_muon": {"rank": 2},
    "zovh": {"reading": "paper"},
    "zopqn": {"noise": 1e-3},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_frozen_value(name):
    make, options = METHODS[name], OTHER_OPTIONS[name]
    plain, other = make(), make(**options, key=jax.random.key(3))
    again = make(**jax.tree.map(lambda x: x, options), key=jax.random.key(3))
    assert plain == make()
    assert other == again
    assert hash(other) == hash(again)
    assert len({plain, make(), other, again, make(key=1), make(key=1), replace(other, key=0)}) == 4
    assert plain != make(key=1)
    assert without_key(other) == without_key(replace(other, key=5)) == make(**options)
    with pytest.raises(FrozenInstanceError):
        plain.key = 3
    for method in (plain, make(**options, key=5)):
        copied = pickle.loads(pickle.dumps(method))
        assert copied == method
        assert hash(copied) == hash(method)
    assert plain.options() == {f.name: f.default for f in fields(make)}


def test_methods_of_unlike_classes_or_options_differ():
    assert len({make() for make in METHODS.values()}) == len(METHODS)
    assert methods.rspg(1) != methods.rspg(2)
    assert methods.rspg(smoothing=1.0) != methods.rspg(smoothing=1)  # a dtype may follow from it
    assert methods.zosah(blocks=str.upper) == methods.zosah(blocks=str.upper)
    assert methods.zosah(blocks=str.upper) != methods.zosah(blocks=str.lower)
    one, other = np.array([[0, 1]]), np.array([[1, 0]])
    assert methods.zosah(groups=one) == methods.zosah(groups=one.copy())
    assert methods.zosah(groups=one) != methods.zosah(groups=other)


# --- values of shape (n, k): a method of one's own ------------------------------------------------


class GaussNewtonState(NamedTuple):
    key: jax.Array


@dataclass(frozen=True, eq=False)
class GaussNewton(Method):
    """Least squares of k residuals, their Jacobian by forward differences."""

    value_ndims: ClassVar[tuple[int, ...]] = (1,)

    def init(self, params, key):
        return GaussNewtonState(key)

    def ask(self, state, params, problem):
        d = params.size
        address = address_of(params, jnp.arange(d, dtype=jnp.uint32))
        offset = jnp.concatenate([jnp.zeros((1, d)), 1e-3 * jnp.eye(d)]).astype(jnp.float32)
        every = jax.tree.map(lambda x: jnp.broadcast_to(x, offset.shape), address)
        return Batch(CoordinateProbes(every, offset))

    def tell(self, state, params, problem, batch, values):
        jacobian = (values[1:] - values[:1]).T / 1e-3
        step = jnp.linalg.lstsq(jacobian, values[0])[0]
        return Outcome(state, step, self.merit(values)[0])

    def merit(self, values):
        return jnp.sum(values**2, axis=-1)


TIMES = np.linspace(0, 2, 7, dtype=np.float32)
TRUE = np.array([1.5, 0.7], np.float32)


def residuals(x, xp=jnp):
    return x[0] * xp.exp(-x[1] * TIMES) - TRUE[0] * xp.exp(-TRUE[1] * TIMES)


def test_a_method_for_residuals_runs_as_an_optimizer():
    tx, x = zosah_jax.as_optax(GaussNewton(), 1.0), jnp.array([1.0, 0.2])
    problem = Problem(None, jnp.zeros(()), (len(TIMES),))
    assert values_per_stage(GaussNewton(), x, problem) == (3,)
    step = jax.jit(lambda x, s: tx.update(None, s, x, value_fn=residuals, problem=problem))
    state = tx.init(x)
    for _ in range(6):
        updates, state = step(x, state)
        x = optax.apply_updates(x, updates)
    np.testing.assert_allclose(x, TRUE, rtol=1e-3)
    assert zosah_jax.num_evaluations(state) == 18
    with pytest.raises(ValueError, match=r"got a value of shape \(7,\), wanted a scalar"):
        jax.eval_shape(lambda x, s: tx.update(None, s, x, value_fn=residuals), x, state)


@pytest.mark.parametrize("evaluator", [zosah_jax.one_by_one(), zosah_jax.grouped()])
def test_any_evaluator_answers_with_residuals(evaluator):
    x, problem = jnp.array([1.0, 0.2]), Problem(None, jnp.zeros(()), (len(TIMES),))
    ends = []
    for how in (evaluator, zosah_jax.automatic()):
        tx = zosah_jax.as_optax(GaussNewton(), 1.0, how)
        ends.append(tx.update(None, tx.init(x), x, value_fn=residuals, problem=problem)[0])
    np.testing.assert_allclose(*ends, rtol=1e-3)


def test_a_method_for_residuals_asks_and_is_told():
    solver = zosah_jax.AskTell(np.array([1.0, 0.2], np.float32), GaussNewton())
    for turn in range(6):
        points = solver.ask()
        assert len(points) == 3
        values = [residuals(x, np) for x in points]
        if turn == 2:
            values[1] = None  # it did not come
        solver.tell(values)
        if turn == 2:
            assert solver.num_missing == 1
        if turn == 1:
            solver.ask()
            with pytest.raises(ValueError, match="values: got ones of"):
                solver.tell([value[:5] for value in values])
    assert solver.num_evaluations == 18
    assert solver.best_value < 1e-6
    np.testing.assert_allclose(solver.best_params, TRUE, rtol=1e-2)


def test_its_problem_is_exact_unless_it_says_otherwise():
    problem = exact_problem(jnp.zeros(2, jnp.bfloat16))
    assert problem.bounds is None
    assert problem.value_shape == ()
    assert (float(problem.noise), problem.noise.dtype) == (0.0, jnp.float32)


def test_residuals_through_minimize():
    x0 = jnp.array([1.0, 0.2])
    found = zosah_jax.minimize(residuals, x0, GaussNewton(), budget=31)
    np.testing.assert_allclose(found.value, jnp.sum(residuals(found.params) ** 2), rtol=1e-5)
    assert found.value < 1e-6 * jnp.sum(residuals(x0) ** 2)
    with pytest.raises(ValueError, match="wanted a scalar"):
        zosah_jax.minimize(residuals, x0, budget=31)
