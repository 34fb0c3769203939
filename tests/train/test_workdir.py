import dataclasses

import pytest

from train.config import HostsConfig, TrainConfig
from train.workdir import WorkDir, commit, read_record

CONFIG = TrainConfig()


def test_what_ran_is_written_down(tmp_path):
    WorkDir(tmp_path / "run", CONFIG, stage="stage1").close()
    record = read_record(tmp_path / "run")
    assert record["stage"] == "stage1"
    assert record["config"]["model"]["architecture"] == "d2f-resnext50"
    assert record["commit"] == commit()
    assert record["versions"].keys() >= {"jax", "flax", "optax", "orbax-checkpoint", "grain"}


def test_a_folder_in_use_is_refused_until_it_is_free(tmp_path):
    first = WorkDir(tmp_path, CONFIG, stage="stage1")
    with pytest.raises(ValueError, match=r"in use by another run \(process \d+\)"):
        WorkDir(tmp_path, CONFIG, stage="stage1")
    first.close()
    WorkDir(tmp_path, CONFIG, stage="stage1").close()


def test_a_run_goes_on_with_its_own_settings_only(tmp_path):
    WorkDir(tmp_path, CONFIG, stage="stage1").close()
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"with other settings .*steps was 1000, is 7"):
        WorkDir(tmp_path, dataclasses.replace(CONFIG, steps=7), stage="stage1")
    with pytest.raises(ValueError, match="holds a run of stage1, not of stage2"):
        WorkDir(tmp_path, CONFIG, stage="stage2")
    # Where it runs may change.
    elsewhere = dataclasses.replace(CONFIG, hosts=HostsConfig(count=2), keep=9)
    WorkDir(tmp_path, elsewhere, stage="stage1").close()


def test_a_run_that_saved_nothing_may_be_started_with_other_settings(tmp_path):
    """As one whose data were not found."""
    WorkDir(tmp_path, CONFIG, stage="stage1").close()
    (tmp_path / "checkpoints").mkdir()
    WorkDir(tmp_path, dataclasses.replace(CONFIG, steps=7), stage="stage1").close()
    assert read_record(tmp_path)["config"]["steps"] == 7


def test_bad_folders_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot use it as work folder"):
        WorkDir(tmp_path / "file" / "run", CONFIG, stage="stage1")
    with pytest.raises(ValueError, match="no training run there"):
        read_record(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not the record of a run"):
        read_record(tmp_path)
