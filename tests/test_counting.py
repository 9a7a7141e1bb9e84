"""Evaluations counted are the calls that the objective gets, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import counting
from zosah_jax.params import Address
from zosah_jax.probes import CoordinateProbes
from zosah_jax.transform import zeroth_order_states

D = 5
EVALUATORS = {
    "automatic": zosah_jax.automatic(),
    "one by one": zosah_jax.one_by_one(),
    "chunks with a remainder": zosah_jax.in_chunks(4),
    "chunks without a remainder": zosah_jax.in_chunks(5),
    "a chunk beyond all": zosah_jax.in_chunks(100),
    "all at once": zosah_jax.all_at_once(),
}


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


@pytest.mark.parametrize("evaluator", ["automatic", "chunks with a remainder"])
def test_switching_and_following_steps(evaluator):
    f = Counter()
    tx = zosah_jax.scale_by_zosah(4, 3, evaluator=EVALUATORS[evaluator])
    x, step = jnp.zeros(D), stepper(tx, f)
    state, calls = tx.init(x), [0]
    for _ in range(7):
        asked = int(state.next_num_evaluations)
        _, state = step(x, state)
        calls.append(f.calls())
        assert calls[-1] - calls[-2] == asked
        assert zosah_jax.num_evaluations(state) == calls[-1]
    assert np.diff(calls).tolist() == [11, 5, 5, 11, 5, 5, 11]


@pytest.mark.slow
def test_update_that_is_not_jitted():
    for name, make in zosah_jax.METHODS.items():
        f = Counter()
        tx = make(0.1)
        x = jnp.zeros(D)
        state = tx.init(x)
        assert f.calls() == 0, name
        _, state = tx.update(None, state, x, value_fn=f)
        assert zosah_jax.num_evaluations(state) == f.calls() > 1, name


@pytest.mark.slow
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
    before = f.calls()
    many = jax.tree.map(lambda a, b, c: jnp.stack([a[0], b[1], c[2]]), ahead[0], ahead[1], ahead[3])
    counted = zosah_jax.num_evaluations(many)
    assert counted.tolist() == [6, 9, 18]
    for expected in ([9, 12, 21], [12, 18, 24], [18, 21, 30]):
        many = one(many, x)
        assert zosah_jax.num_evaluations(many).tolist() == expected
    assert f.calls() - before == sum(expected) - counted.sum()

    # the state unbatched, the parameters batched
    before = f.calls()
    after = jax.jit(jax.vmap(steps(4), in_axes=(None, 0)))(state, x)
    assert zosah_jax.num_evaluations(after).tolist() == [6 + 3 + 3 + 6] * 3
    assert f.calls() - before == 3 * 18


@pytest.mark.slow
@pytest.mark.parametrize("name", zosah_jax.METHODS)
def test_minimize(name):
    f, x0 = Counter(), jnp.zeros(D)
    tx = zosah_jax.METHODS[name](0.1)
    out = zosah_jax.minimize(f, x0, tx, budget=61, target=-1.0)
    assert out.num_evaluations == f.calls()
    assert out.num_evaluations <= 61
    assert zosah_jax.num_evaluations(out.state) == out.num_evaluations - 1
    seen = f.calls()
    out = zosah_jax.minimize(f, x0, tx, budget=61, target=0.9 * D)
    assert out.num_evaluations == f.calls() - seen
    assert out.status == zosah_jax.Status.TARGET_REACHED


@pytest.mark.slow
@pytest.mark.parametrize("name", zosah_jax.METHODS)
def test_vmapped_minimize_evaluates_nothing_that_it_does_not_count(name):
    f = Counter()
    tx = zosah_jax.METHODS[name](0.1)

    def run(x0, key):
        return zosah_jax.minimize(f, x0, tx, budget=100, target=0.5, key=key)

    x0 = jnp.stack([jnp.full(D, 1.0), jnp.full(D, 0.6), jnp.full(D, -50.0)])
    keys = jax.random.split(jax.random.key(1), 3)
    batch = jax.vmap(run)(x0, keys)
    assert len(set(batch.num_evaluations.tolist())) == 3
    assert batch.status.tolist()[::2] == [2, 1]
    assert (batch.num_evaluations <= 100).all()
    assert f.calls() == batch.num_evaluations.sum()

    seen = f.calls()
    over_seeds = jax.vmap(run, in_axes=(None, 0))(x0[1], keys)
    assert f.calls() - seen == over_seeds.num_evaluations.sum()
    assert over_seeds.num_evaluations[1] == batch.num_evaluations[1]


def test_two_transformations_are_counted_together():
    f = Counter()
    tx = optax.partition(
        {"a": zosah_jax.scale_by_rspg(1), "b": zosah_jax.scale_by_rspg(2)}, {"x": "a", "y": "b"}
    )
    params = {"x": jnp.zeros(2), "y": jnp.zeros(3)}

    def objective(p):
        return f(jnp.concatenate([p["x"], p["y"]]))

    out = zosah_jax.minimize(zosah_jax.fill_masked(objective, params), params, tx, budget=14)
    assert zosah_jax.num_evaluations(out.state) == 10
    assert out.num_evaluations == f.calls() == 11


def test_count_is_exact_beyond_32_bits():
    tx, x = zosah_jax.scale_by_rspg(4), jnp.zeros(D)
    first, step = tx.init(x), stepper(tx, lambda x: jnp.sum(x**2))
    for start in (0, 2**31 - 3, 2**32 - 3, 2**40 - 1, 2**63 - 10):
        state = first._replace(num_evaluations=counting.words(start))
        assert zosah_jax.num_evaluations(state) == start
        _, state = step(x, state)
        assert zosah_jax.num_evaluations(state) == start + 5
        assert isinstance(zosah_jax.num_evaluations(state), int)
        both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
        assert zosah_jax.num_evaluations((both, optax.EmptyState())).tolist() == [start + 5] * 2
        traced = jax.jit(zosah_jax.num_evaluations)(state)
        assert int(traced) == min(start + 5, 2**32 - 1)


def test_count_compares_with_limits_of_more_than_32_bits():
    limits = [0, 5, 2**32 - 1, 2**32, 2**32 + 5, 2**45]
    for count in limits:
        for limit in limits:
            assert bool(counting.at_most(counting.words(count), limit)) == (count <= limit)


@pytest.mark.slow
def test_budget_is_used_up_and_never_exceeded():
    random, x0 = np.random.default_rng(0), jnp.zeros(6)
    methods = [(zosah_jax.rspg(0.01, q), q + 1) for q in random.integers(1, 6, 2).tolist()]
    methods.append((zosah_jax.zosah(0.01, 6, 4), 1 + 6 + 9))
    for tx, largest in methods:
        budget = int(random.integers(largest + 1, 80))
        out = zosah_jax.minimize(jnp.sum, x0, tx, budget=budget)
        assert budget - largest < out.num_evaluations <= budget


def test_a_state_that_counts_nothing_is_refused():
    with pytest.raises(ValueError, match=r"state: .*wanted"):
        zosah_jax.num_evaluations(optax.sgd(0.1).init(jnp.zeros(D)))


def test_states_are_found_inside_wrappers():
    tx = optax.chain(optax.identity(), optax.flatten(zosah_jax.scale_by_rspg()))
    _, state = tx.update(jnp.zeros(D), tx.init(jnp.zeros(D)), jnp.zeros(D), value_fn=jnp.sum)
    assert len(zeroth_order_states(state)) == 1
    assert zosah_jax.num_evaluations(state) == 2
