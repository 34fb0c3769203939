import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import tolerances
from train import export

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, shared by the processes of this module."""
    return tmp_path_factory.mktemp("cache")


def start(cache, workdir, changes=None, first="", devices=1):
    flags = os.environ.get("XLA_FLAGS", "")
    environment = dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        JAX_PLATFORMS="cpu",
        JAX_COMPILATION_CACHE_DIR=str(cache),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.5",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
        XLA_FLAGS=f"{flags} --xla_force_host_platform_device_count={devices}",
    )
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(workdir), json.dumps(changes or {}), str(first)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*args, **kwargs):
    process = start(*args, **kwargs)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return out


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_speed(entries):
    return [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in entries]


def leaves(workdir, step):
    import jax

    run = export.read_run(workdir, step=step)
    found, _ = jax.tree_util.tree_flatten_with_path((run.params, run.stats))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run that was never interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    run(cache, workdir)
    return workdir


@pytest.mark.slow
def test_metrics_have_step_loss_and_parts(whole):
    entries = lines(whole)
    assert [entry["step"] for entry in entries] == list(range(1, 10))
    for entry in entries:
        parts = entry["l1"] + entry["ssim"] + 0.1 * entry["gradient"]
        np.testing.assert_allclose(entry["loss"], parts, rtol=1e-5)
    assert "val_psnr" in entries[-1]
    record = json.loads((whole / "config.json").read_text())
    assert record["stage"] == "stage1"
    assert {"jax", "flax", "optax"} <= record["versions"].keys()


@pytest.mark.slow
def test_killed_and_continued_is_the_same_to_the_last_bit(cache, whole, tmp_path):
    process = start(cache, tmp_path)
    deadline = time.monotonic() + 400
    while process.poll() is None and time.monotonic() < deadline:
        if (tmp_path / "metrics.jsonl").exists() and len(lines_so_far(tmp_path)) >= 5:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it had ended before it could be killed"

    run(cache, tmp_path)
    assert without_speed(lines(tmp_path)) == without_speed(lines(whole))
    ours, theirs = leaves(tmp_path, 9), leaves(whole, 9)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def lines_so_far(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


def assert_equal_runs(ours, theirs):
    for one, other in zip(lines(ours), lines(theirs), strict=False):
        for part in ("loss", "l1", "ssim", "gradient"):
            np.testing.assert_allclose(one[part], other[part], atol=tolerances.TWIN)


@pytest.mark.slow
def test_eight_devices_equal_one(cache, whole, tmp_path):
    out = run(cache, tmp_path, {"steps": 3, "save_every": 3}, devices=8)
    assert "devices 8" in out
    assert_equal_runs(tmp_path, whole)


@pytest.mark.slow
def test_two_processes_equal_one(cache, whole, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        start(
            cache,
            tmp_path,
            {"steps": 3, "hosts": {"coordinator": address, "count": 2, "index": index}},
        )
        for index in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        assert "devices 2" in out
    assert_equal_runs(tmp_path, whole)
