"""What only a process that has just begun can show: imports, hashes, numbers of devices."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent


def test_the_core_loads_no_extra_and_leaves_the_configuration_alone():
    code = (
        "import sys, jax; before = jax.config.jax_enable_x64\n"
        "import zosah_jax\n"
        "import jax.numpy as jnp\n"
        "zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(2), zosah_jax.rspg(0.1), budget=9)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
        "assert jax.config.jax_enable_x64 == before and jnp.zeros(1).dtype == jnp.float32\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(ast.literal_eval(ran.stdout))
    ours = {"flax", "matplotlib", "orbax", "tqdm", "dask", "distributed", "experiments"}
    assert not loaded & ours
    assert "scipy" not in loaded or jax_loads_scipy()


@cache
def jax_loads_scipy():
    """Whether JAX or optax, not this library, imports SciPy."""
    code = "import sys, jax, jax.numpy, optax; print('scipy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip() == "True"


def test_a_name_is_imported_as_it_is_first_used():
    code = (
        "import sys, zosah_jax\n"
        "assert not {'jax', 'optax', 'numpy'} & set(sys.modules)\n"
        "zosah_jax.minimize\n"
        "later = ('forward', 'extras', 'plot')\n"
        "assert not {f'zosah_jax.{name}' for name in later} & set(sys.modules)\n"
        "assert 'jax.extend.core' not in sys.modules\n"
        "assert zosah_jax.result.History.__name__ == 'History'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


def test_all_public_names_load_no_extra_and_start_no_backend():
    code = (
        "import sys\n"
        "from zosah_jax import *\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "assert minimize and forward.value_and_grad and plot and scale_by_zosah\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    extras = {"flax", "matplotlib", "orbax", "tqdm", "dask", "distributed", "sklearn"}
    assert not set(ast.literal_eval(ran.stdout)) & extras


def test_a_description_is_the_same_in_every_process():
    code = (
        "import numpy as np, optax, jax; from zosah_jax.faces.host.fingerprint import described;"
        "print(described([optax.trace(0.9), optax.exponential_decay(1.0, 10, 0.5), {'a', 'b'}]))"
    )
    again = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)]
    assert again[0] == again[1]


def test_missing_flax_names_the_extra():
    code = (
        "import sys; sys.modules['flax'] = None\n"
        "try: import zosah_jax.integrations.flax\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "wanted the extra flax (pip install 'zosah_jax[flax]')" in ran.stdout


ON_DEVICES = """
import json, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from zosah_jax.evaluate import automatic, factored, sharded
from zosah_jax.low_rank import LowRank
from zosah_jax.probes import DirectionProbes

def value_fn(p):
    x = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), jnp.ones((16, 32)), p["layers"])[0]
    return jnp.mean((x @ p["out"]) ** 2)

found = {}
keys = jax.random.split(jax.random.key(0), (16, 1))
probes = DirectionProbes(keys, jnp.full((16, 1), 1e-1), distribution=LowRank())
params = {"layers": jnp.ones((3, 32, 32)) / 32, "out": jnp.ones((32, 8))}
for count in (1, 2, 4):
    mesh = Mesh(np.array(jax.devices()[:count]), ("members",))
    here = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    for name, local in (("factored", factored(16)), ("automatic", automatic())):
        evaluate = sharded(mesh, evaluator=local)
        run = jax.jit(lambda p, q, evaluate=evaluate: evaluate(value_fn, p, q))
        compiled = run.lower(here, probes).compile()
        values = np.asarray(compiled(here, probes)).tolist()
        found[f"{name} {count}"] = compiled.cost_analysis()["flops"], values
print(json.dumps(found))
"""


def test_each_device_does_its_share():
    """By XLA's count of the operations of the program of one device."""
    ran = subprocess.run(
        [sys.executable, "-c", ON_DEVICES], capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    for name in ("factored", "automatic"):
        (flops, values), *others = (found[f"{name} {count}"] for count in (1, 2, 4))
        assert len(set(values)) == 16
        for count, (fewer, same) in zip((2, 4), others, strict=True):
            np.testing.assert_allclose(same, values, rtol=1e-6)
            assert fewer < 1.1 * flops / count
