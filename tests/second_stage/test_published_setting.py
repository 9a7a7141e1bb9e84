"""The published setting in slices: killed and resumed to the same bits, refused where need be."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_images import TinyNet, made

from experiments import experiment
from experiments.benchmarks.published_setting import experiment as published
from experiments.benchmarks.published_setting import runs
from experiments.benchmarks.published_setting.store import Kept, Store
from experiments.common import records
from experiments.common.errors import InputError
from experiments.common.networks import NETWORKS

ROOT = Path(__file__).parents[2]
TIMES = ("compiling", "seconds", "look")


@pytest.fixture
def tiny(monkeypatch):
    """A config of two methods on tiny images, CIFAR-100 left out."""

    def find(name, folder):
        if name != "cifar10":
            raise InputError(f"data_dir: got {folder}, which holds no {name}")

    monkeypatch.setitem(NETWORKS, "tiny", TinyNet)
    monkeypatch.setattr(runs.image_data, "load", lambda name, folder: made(24, 10))
    monkeypatch.setattr(runs.image_data, "find", find)
    return published.Config(
        networks=("tiny",),
        methods=("sah_dense", "deepzero_1"),
        seeds=(0,),
        batch_size=8,
        budget=60,
        chunk=30,
    )


# --- slices --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_slices_end_as_one_that_is_not_cut(tiny, tmp_path, capsys):
    config = replace(tiny, out=tmp_path / "out", checkpoints=tmp_path / "whole")
    experiment.run(published.EXPERIMENT, config)
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    out, bar = capsys.readouterr()
    assert "left out: data_dir: got None, which holds no cifar100" in out
    assert "Not run: its data were not there." in out
    assert "hours, whole" in out
    assert "s left of the slice" in bar
    whole = record["results"]
    assert whole["missing"] == ["cifar100"]
    assert [(run["method"], run["spent"] >= 60) for run in whole["runs"]] == [
        ("sah_dense", True),
        ("deepzero_1", True),
    ]
    slices = []
    short = replace(tiny, seconds=1e-3, checkpoints=tmp_path / "cut")
    for _ in range(5):  # a chunk each, and one with nothing left to do
        (tmp_path / "cut").mkdir(exist_ok=True)
        (tmp_path / "cut" / "tiny-cifar10-0.tmp").write_bytes(b"half a file")
        slices.append(published.measure(short))
    steps = [sum(len(run["way"]["spent"]) for run in one["runs"]) for one in slices]
    assert steps == [1, 2, 3, 4, 4]
    # losses, accuracies, counts, and a digest of every bit of the states
    again = records.record("published_setting", short, slices[-1])["results"]
    assert again["runs"] == whole["runs"]
    # a larger budget goes on; another batch is another run
    more = published.measure(replace(tiny, budget=90, checkpoints=tmp_path / "cut"))
    assert all(run["spent"] >= 90 for run in more["runs"])
    with pytest.raises(InputError, match="a run with batch_size = 8, wanted 4"):
        published.measure(replace(tiny, batch_size=4, checkpoints=tmp_path / "cut"))


@pytest.mark.slow
def test_step_that_does_not_fit_is_left_to_another_slice(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        runs._Slice, "_expected", lambda self, cell: 1e9 if cell.method == "sah_dense" else 0.0
    )
    found = published.measure(replace(tiny, checkpoints=tmp_path))
    assert [run["method"] for run in found["runs"]] == ["deepzero_1"]
    captured = capsys.readouterr()
    told = captured.out + captured.err
    assert told.count("sah_dense, seed 0: left out of this slice, as it takes") == 1


# --- killed --------------------------------------------------------------------------------------


def cifar100(folder):
    """The archive as it is published, with few images."""
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, number in (("train", 60), ("test", 20)):
            pixels = rng.integers(0, 256, (number, 3072), dtype=np.uint8)
            labels = [n % 100 for n in range(number)]
            content = pickle.dumps({b"data": pixels, b"fine_labels": labels}, protocol=2)
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def read(path):
    """Histories without times, and states."""
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    about = json.loads(arrays.pop("about").tobytes())
    histories = {
        name: {key: part for key, part in one["history"].items() if key not in TIMES}
        for name, one in about.items()
    }
    return histories, arrays


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_bit_for_bit(tmp_path):
    cifar100(tmp_path)
    options = "--networks convnet --methods sah_low_rank --seeds 0 --batch-size 8 --chunk 100"
    places = f"--data-dir {tmp_path} --out {tmp_path / 'out'}"
    base = [sys.executable, "-m", "experiments", "published_setting", *options.split()]
    base += places.split()
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def command(folder, budget):
        return [*base, "--checkpoints", str(tmp_path / folder), "--budget", str(budget)]

    path = tmp_path / "killed" / "convnet-cifar100-0.npz"
    process = subprocess.Popen(
        command("killed", 10**6), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while not (path.exists() and len(read(path)[0]["sah_low_rank"]["spent"]) >= 3):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = read(path)[0]["sah_low_rank"]["spent"]
    budget = 100 * (there[-1] // 100 + 4)
    for folder in ("killed", "whole"):
        subprocess.run(command(folder, budget), cwd=ROOT, env=environment, check=True)
    histories, arrays = read(path)
    others, expected = read(tmp_path / "whole" / path.name)
    assert histories == others
    assert len(histories["sah_low_rank"]["spent"]) > len(there)
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


# --- what is kept --------------------------------------------------------------------------------


def test_what_is_damaged_is_refused_and_left_alone(tmp_path):
    kept = Kept({"seed": 0}, {"spent": [1]}, {"x": np.arange(1000.0), "key.a": np.uint32(3)})
    Store(tmp_path).put("group", "run", kept)
    Store(tmp_path).put("group", "other", kept)
    again = Store(tmp_path).get("group", "run", {"seed": 0})
    assert again is not None
    assert (again.identity, again.history) == (kept.identity, kept.history)
    np.testing.assert_array_equal(again.arrays["x"], kept.arrays["x"])
    assert Store(tmp_path).get("group", "third", {}) is None
    assert Store(tmp_path).get("nothing", "run", {}) is None
    with pytest.raises(InputError, match=r"whose run is a run with seed = 0, wanted 1\. Nothing"):
        Store(tmp_path).get("group", "run", {"seed": 1})
    path = tmp_path / "group.npz"
    whole = path.read_bytes()
    turned = bytearray(whole)
    turned[2000] ^= 1  # within the numbers of x
    for damaged in (whole[: len(whole) // 2], b"", bytes(turned)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"group\.npz, which cannot be read .* begin anew"):
            Store(tmp_path).get("group", "run", {"seed": 0})
        assert path.read_bytes() == damaged
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="wanted a folder that can be made"):
        Store(tmp_path / "file")


def test_without_any_data_it_says_where_was_looked(tmp_path, monkeypatch, capsys):
    config = published.Config(checkpoints=tmp_path / "kept", data_dir=tmp_path)
    with pytest.raises(InputError, match="which holds no cifar100"):
        published.measure(config)
    assert "which holds no cifar10 " in capsys.readouterr().out
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    with pytest.raises(InputError, match=r"cifar100 is not shipped\. Pass --data-dir"):
        published.measure(replace(config, data_dir=None))
    with pytest.raises(InputError, match="datasets: got 'mnist', wanted one of cifar10, cifar100"):
        published.measure(replace(config, datasets=("mnist",)))
