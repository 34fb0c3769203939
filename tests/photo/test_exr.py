import sys

import numpy as np
import pytest

from d2f_jax.photo import exr

PLANE = np.linspace(0, 30, 35, dtype=np.float32).reshape(5, 7)


def test_channels_come_back_by_name(tmp_path):
    exr.write(tmp_path / "a.exr", {"R": PLANE, "depth.V": PLANE[::-1]})
    back = exr.read(tmp_path / "a.exr", max_pixels=35)
    assert set(back) == {"R", "depth.V"}
    np.testing.assert_allclose(back["R"], PLANE, rtol=1e-3)
    np.testing.assert_allclose(back["depth.V"], PLANE[::-1], rtol=1e-3)


def test_bad_files_are_refused_in_one_line(tmp_path):
    exr.write(tmp_path / "a.exr", {"R": PLANE})
    data = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "half.exr").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "text.exr").write_text("hello")
    for name, message in {
        "text.exr": "not a readable EXR file",
        "half.exr": "not a readable EXR file",
        "a.exr": "7x5 pixels, more than the 34 allowed",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            exr.read(tmp_path / name, max_pixels=34)
        assert "\n" not in str(caught.value)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ValueError, match=r"needs OpenEXR: .*pip install '\.\[exr\]'"):
        exr.read(tmp_path / "a.exr", max_pixels=1)
    with pytest.raises(ValueError, match=r"needs OpenEXR: .*pip install '\.\[exr\]'"):
        exr.write(tmp_path / "a.exr", {"R": PLANE})
    assert list(tmp_path.iterdir()) == []
