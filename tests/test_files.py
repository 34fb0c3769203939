import os

import pytest

from d2f_jax import files


def test_bytes_come_back_with_ordinary_permissions(tmp_path):
    files.write_bytes(tmp_path / "a.bin", b"123")
    assert files.read_bytes(tmp_path / "a.bin") == b"123"
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


def test_the_target_changes_at_the_end_or_not_at_all(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with files.replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".bin"
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    with (
        pytest.raises(ValueError, match=r"a.bin: cannot write there"),
        files.replacing(target) as temporary,
    ):
        (temporary.parent / "none").rename(temporary)
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    (tmp_path / "empty").touch()
    for name, message in {
        "none": "no such file",
        ".": "a folder, not a file",
        "empty": r"the file is empty \(0 bytes\)",
        "empty/x": "cannot read it: Not a directory",
        "nul\0": "cannot read it: ",
    }.items():
        with pytest.raises(ValueError, match=message):
            files.read_bytes(tmp_path / name)
    for name in ("none/a", "empty/a"):
        with pytest.raises(ValueError, match=f"{name}: cannot write there: N"):
            files.write_bytes(tmp_path / name, b"")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with files.making(tmp_path / "a/b") as folder:
        (folder / "x").write_text("whole")
        assert not (tmp_path / "a/b").exists()
    assert (tmp_path / "a/b/x").read_text() == "whole"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755

    def interrupted(place):
        with files.making(tmp_path / place) as folder:
            (folder / "x").touch()
            raise KeyboardInterrupt

    def made(place):
        with files.making(tmp_path / place) as folder:
            (folder / "y").touch()

    with pytest.raises(KeyboardInterrupt):
        interrupted("c")
    for place in ("a/b", "a/b/x/c"):  # something is there; no folder
        with pytest.raises(ValueError, match=rf"{place}: cannot be written: "):
            made(place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "x"]
    (tmp_path / "empty").mkdir()
    with files.making(tmp_path / "empty") as folder:
        (folder / "x").touch()
    assert (tmp_path / "empty/x").exists()
