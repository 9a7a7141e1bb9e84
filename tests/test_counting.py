"""Evaluations counted are the calls that the objective gets, on every path."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import OF_EACH_KIND
from precision import allowed

import zosah_jax
from zosah_jax import Status, methods
from zosah_jax.evaluate import all_at_once
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.method import exact_problem, values_per_stage
from zosah_jax.methods import METHODS
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address
from zosah_jax.switch import switch
from zosah_jax.transforms import fill_masked

D = 5
EVALUATORS = {
    "automatic": zosah_jax.automatic(),
    "one by one": zosah_jax.one_by_one(),
    "chunks with a remainder": zosah_jax.in_chunks(4),
    "chunks without a remainder": zosah_jax.in_chunks(5),
    "a chunk beyond all": zosah_jax.in_chunks(100),
    "all at once": all_at_once(),
}
of_every_method = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS]
)


class Counter:
    """An objective that counts its calls while it runs, batched or not."""

    def __init__(self):
        self.seen = 0

    def _see(self, _):
        self.seen += 1

    def __call__(self, x):
        jax.debug.callback(self._see, x[0])
        return jnp.sum((x - 1) ** 2)

    def calls(self):
        jax.effects_barrier()
        return self.seen


def stepper(tx, f):
    return jax.jit(lambda x, state: tx.update(None, state, x, value_fn=f))


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_each_evaluator_calls_once_a_probe(evaluator):
    for n in (10, 11):
        f = Counter()
        address = Address(jnp.zeros((n, 1), jnp.int32), jnp.zeros((n, 1), jnp.uint32))
        probes = CoordinateProbes(address, jnp.ones((n, 1)))
        values = EVALUATORS[evaluator](f, jnp.zeros(D), probes)
        assert values.shape == (n,)
        assert f.calls() == n


# --- an update ------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", ["automatic", "chunks with a remainder"])
def test_switching_and_following_steps(evaluator):
    f = Counter()
    tx = zosah_jax.scale_by_zosah(4, 3, evaluator=EVALUATORS[evaluator])
    x, step = jnp.zeros(D), stepper(tx, f)
    costs = values_per_stage(tx.method, x, exact_problem(x))
    assert costs == (11, 5)
    state, calls = tx.init(x), [0]
    for _ in range(7):
        asked = costs[int(tx.method.next_stage(state.method))]
        _, state = step(x, state)
        calls.append(f.calls())
        assert calls[-1] - calls[-2] == asked
        assert zosah_jax.num_evaluations(state) == calls[-1]
    assert np.diff(calls).tolist() == [11, 5, 5, 11, 5, 5, 11]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("rspg", "zosah", "zoha")],
)
def test_update_that_is_not_jitted(name):
    """Of one stage, of several that move, and of one that looks before it moves."""
    f = Counter()
    tx = getattr(zosah_jax, name)(0.1)
    x = jnp.zeros(D)
    state = tx.init(x)
    assert f.calls() == 0
    _, state = tx.update(None, state, x, value_fn=f)
    assert zosah_jax.num_evaluations(state) == f.calls() > 1


def test_scan_and_vmapped_update_with_equal_and_unequal_step_counters():
    f = Counter()
    tx = zosah_jax.scale_by_zosah(2, 3)
    x = jnp.zeros((3, D))

    def steps(length):
        def step(state, x):
            return jax.lax.scan(
                lambda s, _: (tx.update(None, s, x, value_fn=f)[1], None), state, length=length
            )[0]

        return step

    state = tx.init(x[0])
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    one = jax.jit(jax.vmap(steps(1)))
    ahead = []
    for cost in (6, 3, 3, 6):
        before, many = f.calls(), one(many, x)
        assert f.calls() - before == 3 * cost
        assert zosah_jax.num_evaluations(many).sum() == f.calls()
        ahead.append(many)

    # lane 0 is at step 1, lane 1 at step 2, lane 2 at step 4
    many = jax.tree.map(lambda a, b, c: jnp.stack([a[0], b[1], c[2]]), ahead[0], ahead[1], ahead[3])
    assert zosah_jax.num_evaluations(many).tolist() == [6, 9, 18]
    # what a lane counts is its own; a stage that any lane calls for is evaluated beside all
    for expected, evaluated in (([9, 12, 21], 9), ([12, 18, 24], 27), ([18, 21, 30], 27)):
        before, many = f.calls(), one(many, x)
        assert zosah_jax.num_evaluations(many).tolist() == expected
        assert f.calls() - before == evaluated

    # the state unbatched, the parameters batched
    before = f.calls()
    after = jax.jit(jax.vmap(steps(4), in_axes=(None, 0)))(state, x)
    assert zosah_jax.num_evaluations(after).tolist() == [6 + 3 + 3 + 6] * 3
    assert f.calls() - before == 3 * 18


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("zoha", "zopqn")]
)
def test_an_update_is_a_step_so_that_schedules_count_steps(name):
    """It runs stages until the first that moves; the schedule sees 0, 1, 2, ..."""
    f, counts = Counter(), []

    def schedule(count):
        jax.debug.callback(lambda count: counts.append(int(count)), count)
        return jnp.array([0.5, 0.25, 0.0])[count % 3]

    tx = getattr(zosah_jax, name)(schedule, **({"period": 2} if name == "zoha" else {}))
    x, step = jnp.zeros(D), stepper(tx, f)
    state, spent, moves = tx.init(x), [0], []
    costs = values_per_stage(tx.method, x, exact_problem(x))
    moving = [stage.moves for stage in tx.method.stages(x)]
    for _ in range(4):
        updates, state = step(x, state)
        moves.append(bool((updates != 0).any()))
        x = optax.apply_updates(x, updates)
        spent.append(zosah_jax.num_evaluations(state))
        assert f.calls() == spent[-1]
    jax.effects_barrier()
    assert sorted(set(counts)) == [0, 1, 2, 3]
    assert name == "zoha" or len(counts) == 4  # its check of descent looks at it, too
    assert moves == [True, True, False, True]
    assert min(np.diff(spent)) > min(c for c, m in zip(costs, moving, strict=True) if m)


# --- minimize -------------------------------------------------------------------------------------

ENDED = (Status.BUDGET_SPENT, Status.CONVERGED)  # the ordinary ends of a run without a target


RATES = {"zovh": 0.003, "zo_muon": 5.0}  # what does not get far within 61 values at 0.1


@functools.cache
def counted(name):
    """An objective that counts, a run on it, and the same compiled; all in x64."""
    f, tx = Counter(), getattr(zosah_jax, name)(RATES.get(name, 0.1))

    def run(x0, key, target):
        return zosah_jax.minimize(f, x0, tx, budget=61, target=target, key=key)

    return f, run, jax.jit(run)


@of_every_method
def test_minimize_counts_every_call(name, x64):
    (f, _, run), x0, key = counted(name), jnp.zeros(D), jax.random.key(0)
    seen = f.calls()
    out = run(x0, key, -1.0)
    assert out.num_evaluations == f.calls() - seen
    assert 30 < out.num_evaluations <= 61
    assert out.status in ENDED
    seen = f.calls()
    out = run(x0, key, 0.9 * D)
    assert out.num_evaluations == f.calls() - seen < 61
    assert out.status == Status.TARGET_REACHED


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in OF_EACH_KIND]
)
def test_under_vmap_a_lane_is_and_counts_what_it_would_be_alone(name, x64):
    check_lanes(name)


def check_lanes(name):
    """A batch of runs with starts, keys and targets of their own, beside each alone, in x64."""
    f, run, alone = counted(name)
    x0 = jnp.stack([jnp.full(D, 1.0), jnp.full(D, 0.6), jnp.full(D, -5.0)])
    targets = jnp.array([0.5, 0.5, -1.0])
    keys = jax.random.split(jax.random.key(1), 3)
    seen = f.calls()
    batch = jax.jit(jax.vmap(run, in_axes=(0, 0, 0)))(x0, keys, targets)
    calls = f.calls() - seen
    assert len(set(batch.num_evaluations.tolist())) > 1
    assert batch.status[0] == Status.TARGET_REACHED
    assert batch.status[2] in ENDED
    for lane in range(3):
        own = alone(x0[lane], keys[lane], targets[lane])
        assert own.num_evaluations == batch.num_evaluations[lane]
        assert own.status == batch.status[lane]
        np.testing.assert_array_equal(
            own.history.num_evaluations, batch.history.num_evaluations[lane]
        )
        np.testing.assert_allclose(
            own.value, batch.value[lane], rtol=allowed(1e-4, 1e-3), atol=1e-9
        )
        np.testing.assert_allclose(
            own.params, batch.params[lane], rtol=allowed(1e-4, 5e-3), atol=1e-6
        )
    # nothing is evaluated beside all lanes that none of them called for
    assert batch.num_evaluations.sum() <= calls
    if len(METHODS[name]().stages(x0[0])) == 1:
        # the lanes go on together until the last of them has ended, and then look at its last point
        assert calls <= 3 * batch.num_evaluations.max()


def test_vmap_over_seeds_alone(x64):
    _, run, alone = counted("rspg")
    keys = jax.random.split(jax.random.key(1), 3)
    x0 = jnp.full(D, 0.6)
    over_seeds = jax.vmap(run, in_axes=(None, 0, None))(x0, keys, 0.5)
    expected = [alone(x0, key, 0.5).num_evaluations for key in keys]
    assert over_seeds.num_evaluations.tolist() == expected


@pytest.mark.slow
def test_budget_is_used_up_and_never_exceeded():
    random, x0 = np.random.default_rng(0), jnp.zeros(6)
    methods = [(zosah_jax.rspg(0.01, q), q + 1) for q in random.integers(1, 6, 2).tolist()]
    methods.append((zosah_jax.zosah(0.01, 6, 4), 1 + 6 + 9))
    for tx, largest in methods:
        for budget in random.integers(largest + 1, 80, 3).tolist():
            out = zosah_jax.minimize(jnp.sum, x0, tx, budget=budget)
            assert budget - largest < out.num_evaluations <= budget


# --- counts of a state ----------------------------------------------------------------------------


def test_two_transformations_are_counted_together():
    f = Counter()
    tx = optax.partition(
        {"a": zosah_jax.scale_by_rspg(1), "b": zosah_jax.scale_by_rspg(2)}, {"x": "a", "y": "b"}
    )
    params = {"x": jnp.zeros(2), "y": jnp.zeros(3)}

    def objective(p):
        return f(jnp.concatenate([p["x"], p["y"]]))

    step = jax.jit(lambda p, s: tx.update(p, s, p, value_fn=fill_masked(objective, params)))
    state = tx.init(params)
    for _ in range(2):
        _, state = step(params, state)
    assert zosah_jax.num_evaluations(state) == f.calls() == 10
    assert len(zeroth_order_states(state)) == 2


def test_count_is_an_int_exact_to_32_bits_and_of_a_batch_an_array():
    tx, x = zosah_jax.scale_by_rspg(4), jnp.zeros(D)
    first, step = tx.init(x), stepper(tx, lambda x: jnp.sum(x**2))
    for start in (0, 2**31 - 3, 2**32 - 6):
        state = first._replace(num_evaluations=jnp.asarray(start, jnp.uint32))
        assert zosah_jax.num_evaluations(state) == start
        _, state = step(x, state)
        assert zosah_jax.num_evaluations(state) == start + 5
        assert isinstance(zosah_jax.num_evaluations(state), int)
        both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
        counts = zosah_jax.num_evaluations((both, optax.EmptyState()))
        assert counts.tolist() == [start + 5] * 2
        assert zosah_jax.num_evaluations((state, first, state)) == 2 * (start + 5)
        traced = jax.jit(zosah_jax.num_evaluations)(state)
        assert traced.dtype == jnp.uint32
        assert int(traced) == start + 5


def test_a_state_that_counts_nothing_is_refused():
    with pytest.raises(ValueError, match=r"state: .*wanted"):
        zosah_jax.num_evaluations(optax.sgd(0.1).init(jnp.zeros(D)))


def test_states_are_found_inside_wrappers():
    tx = optax.chain(optax.identity(), optax.flatten(zosah_jax.scale_by_rspg()))
    _, state = tx.update(jnp.zeros(D), tx.init(jnp.zeros(D)), jnp.zeros(D), value_fn=jnp.sum)
    assert len(zeroth_order_states(state)) == 1
    assert zosah_jax.num_evaluations(state) == 2


# --- the choice among stages ----------------------------------------------------------------------

SCALE = jnp.array([1.0, 10.0, 100.0])  # of each lane


class Branches:
    """Three branches that say when they run; they close over `scale`."""

    def __init__(self):
        self.ran = []

    def of(self, scale):
        def branch(number):
            def run(x, key):
                jax.debug.callback(lambda _: self.ran.append(number), x)
                return {"y": (number + 1) * scale * x, "key": jax.random.fold_in(key, number)}

            return run

        return [branch(number) for number in range(3)]

    def since(self):
        jax.effects_barrier()
        ran, self.ran = self.ran, []
        return ran


def same(one, other):
    np.testing.assert_array_equal(one["y"], other["y"])
    assert one["key"].dtype == other["key"].dtype
    np.testing.assert_array_equal(
        jax.random.key_data(one["key"]), jax.random.key_data(other["key"])
    )


def test_switch_is_lax_switch_and_runs_one_branch():
    branches, key = Branches(), jax.random.key(3)
    run = jax.jit(lambda n, x, key: switch(n, branches.of(2.0), x, key))
    plain = jax.jit(lambda n, x, key: jax.lax.switch(n, Branches().of(2.0), x, key))
    for n in range(3):
        same(run(n, 5.0, key), plain(n, 5.0, key))
        assert branches.since() == [n]
    alone = switch(jnp.array(0), branches.of(2.0)[:1], 5.0, key)
    assert alone["y"] == 10
    assert branches.since() == [0]


def test_under_vmap_a_branch_runs_only_if_a_lane_calls_for_it():
    branches = Branches()
    keys, x = jax.random.split(jax.random.key(3), 3), jnp.array([2.0, 3.0, 4.0])

    def choose(make, n, scale, x, key):
        return make(n, branches.of(scale), x, key)

    axes = {
        "all batched": (0, 0, 0, 0),
        "closed over alone": (0, 0, None, None),
        "operands alone": (0, None, 0, 0),
        "index alone": (0, None, None, None),
        "index unbatched": (None, 0, 0, 0),
    }
    for name, which in axes.items():
        run, plain = (
            jax.jit(jax.vmap(functools.partial(choose, make), which))
            for make in (switch, jax.lax.switch)
        )
        rest = [
            full if axis == 0 else full[1]
            for full, axis in zip((SCALE, x, keys), which[1:], strict=True)
        ]
        for index in ([0, 0, 0], [2, 0, 2], [1, 1, 2]):
            index = jnp.array(index) if which[0] == 0 else jnp.array(index[2])
            expected = plain(index, *rest)
            branches.since()
            same(run(index, *rest), expected)
            # (one whose operands are not batched runs once for all lanes)
            assert set(branches.since()) == set(np.ravel(index).tolist()), name


def test_a_lane_with_a_negative_index_runs_nothing_and_harms_no_other():
    branches = Branches()
    keys, x = jax.random.split(jax.random.key(3), 3), jnp.array([2.0, 3.0, 4.0])
    run = jax.jit(
        jax.vmap(lambda n, scale, x, key: switch(n, branches.of(scale), x, key), (0, 0, 0, 0))
    )
    out = run(jnp.array([-1, 2, -1]), SCALE, x, keys)
    assert set(branches.since()) == {2}
    assert out["y"][1] == 3 * 10 * 3
    run(jnp.array([-1, -1, -1]), SCALE, x, keys)
    assert branches.since() == []


def test_a_switch_in_a_loop_whose_lanes_end_apart():
    branches = Branches()

    def run(make, n, scale, x):
        """n turns; a lane that has ended stays as it is."""

        def turn(carry):
            k, kept = carry
            number = k % 2 if make is jax.lax.switch else jnp.where(k < n, k % 2, -1)
            return k + 1, make(number, branches.of(scale), kept["y"] / 64, kept["key"])

        start = (jnp.zeros((), jnp.int32), {"y": x, "key": jax.random.key(0)})
        return jax.lax.while_loop(lambda carry: carry[0] < n, turn, start)

    n, x = jnp.array([0, 1, 4]), jnp.array([2.0, 3.0, 4.0])
    (ours, theirs), (ours_y, theirs_y) = zip(
        *(
            jax.jit(jax.vmap(functools.partial(run, make)))(n, SCALE, x)
            for make in (switch, jax.lax.switch)
        ),
        strict=True,
    )
    np.testing.assert_array_equal(ours, theirs)
    same(ours_y, theirs_y)
    branches.since()
    jax.jit(jax.vmap(functools.partial(run, switch)))(jnp.array([1, 1, 1]), SCALE, x)
    assert set(branches.since()) == {0}


def test_the_stages_of_a_vmapped_run_are_asked_where_a_lane_calls_for_them():
    """Every lane is at the same stage, so that no value is evaluated that none counts."""
    f, method = Counter(), methods.zosah(2, 3)

    def run(key):
        return zosah_jax.minimize(f, jnp.zeros(D), method, budget=40, key=key)

    batch = jax.vmap(run)(jax.random.split(jax.random.key(0), 3))
    assert f.calls() == batch.num_evaluations.sum()
    assert len(set(batch.num_evaluations.tolist())) == 1
