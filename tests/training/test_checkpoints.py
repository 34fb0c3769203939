import gc
import re
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import files
from d2f_jax.training.checkpoints import Checkpoints


class State(NamedTuple):
    step: Any
    params: dict
    average: Any


def state(step):
    return State(jnp.int32(step), {"w": jnp.arange(20_000.0) * step, "none": {}}, None)


def data():
    chain = grain.MapDataset.source(list(range(100))).seed(0).shuffle().repeat().batch(2)
    return iter(chain.to_iter_dataset())


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 1 to 4, of which the first is the best."""
    saved = Checkpoints(tmp_path / "checkpoints", keep=2)
    position = data()
    for step in (1, 2, 3, 4):
        next(position)
        saved.save(step, state(step), position, score=10.0 - abs(step - 1))
    saved.close()
    return tmp_path / "checkpoints"


def damage(checkpoint: Path, change):
    largest = max(checkpoint.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(largest.read_bytes())
    largest.write_bytes(change(content))


def flip_a_byte(content):
    content[len(content) // 2] ^= 0xFF
    return content


def cut_in_half(content):
    return content[: len(content) // 2]


def test_newest_and_best_are_kept(folder):
    saved = Checkpoints(folder, writable=False)
    assert saved.steps == [1, 3, 4]
    assert saved.best == 1
    saved.close()


def test_state_and_place_in_the_data_come_back(folder):
    expected = data()
    batches = [next(expected) for _ in range(5)]
    saved, position, said = Checkpoints(folder), data(), []
    restored = saved.restore(state(0), position, report=said.append)
    assert isinstance(restored, State)
    assert int(restored.step) == 4
    assert restored.average is None
    np.testing.assert_array_equal(restored.params["w"], state(4).params["w"])
    np.testing.assert_array_equal(next(position), batches[4])
    assert said == []
    saved.close()


@pytest.mark.parametrize("change", [flip_a_byte, cut_in_half])
def test_a_torn_checkpoint_is_named_and_the_one_before_taken(folder, change):
    damage(folder / "4", change)
    saved, position, said = Checkpoints(folder), data(), []
    restored = saved.restore(state(0), position, report=said.append)
    assert int(restored.step) == 3
    assert len(said) == 1
    assert str(folder / "4") in said[0]
    assert (folder.parent / "unreadable" / "4").is_dir()
    # Its step can be saved again.
    saved.save(4, restored, position, score=0.0)
    assert saved.steps == [1, 3, 4]
    saved.close()


def test_foreign_folders_are_named_and_skipped(folder):
    (folder / "7").mkdir()
    (folder / "7" / "notes.txt").write_text("not a checkpoint")
    saved, said = Checkpoints(folder), []
    assert int(saved.restore(state(0), data(), report=said.append).step) == 4
    assert str(folder / "7") in said[0]
    saved.close()


def test_a_state_of_another_network_is_not_taken(folder):
    other = state(0)._replace(params={"w": jnp.zeros(3)})
    saved = Checkpoints(folder)
    with pytest.raises(ValueError, match="none of its 3 checkpoints can be read"):
        saved.restore(other, data(), report=lambda line: None)
    saved.close()


@pytest.mark.parametrize(
    ("change", "size", "reason"),
    [
        (flip_a_byte, 50_000, "1 of its files changed"),
        (cut_in_half, 50_000, "1 of its files changed"),
        (None, 3, r"w0 is \(50000,\) there and \(3,\) here"),
    ],
)
def test_a_refused_checkpoint_leaves_nothing_behind(tmp_path, monkeypatch, change, size, reason):
    """Orbax leaves its other reads hanging if one fails, so it must not be the one to notice."""

    def many(size):
        return State(jnp.int32(1), {f"w{i}": jnp.arange(1.0 * size) for i in range(40)}, None)

    left, said = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: left.append(str(fault.object)))
    saved = Checkpoints(tmp_path / "checkpoints")
    saved.save(1, many(50_000), data(), score=0.0)
    if change:
        damage(tmp_path / "checkpoints" / "1", change)
    with pytest.raises(ValueError, match="none of its 1 checkpoints"):
        saved.restore(many(size), data(), report=said.append)
    assert re.search(reason, said[0])
    saved.close()
    gc.collect()
    assert left == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1", b"[]", b"7", b"\xff\xfe"])
def test_damaged_checksums_are_named(folder, content):
    (folder / "4" / "checksums.json").write_bytes(content)
    saved, said = Checkpoints(folder), []
    assert int(saved.restore(state(0), data(), report=said.append).step) == 3
    assert "checksums.json is damaged" in said[0]
    saved.close()


@pytest.mark.parametrize("before", [[], [1, 2]])
def test_a_save_that_ends_early_costs_nothing(tmp_path, monkeypatch, before):
    """The disk is full when all is written but the checksums; the new one would be the best."""
    saved, said = Checkpoints(tmp_path / "checkpoints", keep=1), []
    for step in before:
        saved.save(step, state(step), data(), score=float(step))

    def fail(path, content):
        raise ValueError(f"{path}: no space left on device")

    with monkeypatch.context() as full:
        full.setattr(files, "write_bytes", fail)
        kept = "2" if before else "none"
        with pytest.raises(ValueError, match=rf"no space left.*intact .steps: {kept}"):
            saved.save(3, state(3), data(), score=9.0)
    assert saved.steps == before[-1:]
    saved.close()
    saved = Checkpoints(tmp_path / "checkpoints", keep=1)
    restored = saved.restore(state(0), data(), report=said.append)
    assert restored is None if not before else int(restored.step) == 2
    assert "not saved to the end" in said[0]
    saved.save(3, state(3), data(), score=9.0)
    assert saved.steps == [3]
    saved.close()


def test_without_checkpoints_there_is_nothing_to_restore(tmp_path):
    saved = Checkpoints(tmp_path / "new")
    assert saved.restore(state(0), data(), report=print) is None
    with pytest.raises(ValueError, match="no checkpoints there"):
        _ = saved.best
    saved.close()
    with pytest.raises(ValueError, match="no checkpoints there"):
        Checkpoints(tmp_path / "nothing", writable=False)


def test_a_full_disk_is_reported_and_loses_nothing(folder):
    saved = Checkpoints(folder)
    # Stands in for a full disk: no file may grow beyond a size.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"cannot save step 5: .*intact .steps: 1, 3, 4"):
            saved.save(5, state(5), data(), score=99.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        saved.close()
    saved = Checkpoints(folder)
    assert int(saved.restore(state(0), data(), report=print).step) == 4
    saved.close()


def test_one_checkpoint_is_read_as_nested_dicts(folder):
    saved = Checkpoints(folder, writable=False)
    content = saved.read(saved.best)
    assert int(content["step"]) == 1
    np.testing.assert_array_equal(content["params"]["w"], state(1).params["w"])
    assert next(iter(content["params"]["w"].devices())) == jax.devices()[0]
    with pytest.raises(ValueError, match="no checkpoint of step 2"):
        saved.read(2)
    damage(folder / "1", flip_a_byte)
    with pytest.raises(ValueError, match="torn checkpoint"):
        saved.read(1)
    saved.close()
