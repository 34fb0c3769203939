import numpy as np
import pytest
import safetensors.numpy

from d2f_jax.models import weights

TREE = {"a": {"params": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}, "b": np.ones(2)}
HEADER = {"architecture": "x", "source": "made", "licence": "CC0-1.0"}


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path, half):
    weights.save(tmp_path / "w.safetensors", TREE, half=half, note="hello", **HEADER)
    tree, metadata = weights.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(tree["a"]["params"]["kernel"], TREE["a"]["params"]["kernel"])
    assert tree["b"].dtype == np.float32
    assert len(metadata.pop("sha256")) == 64
    assert metadata == {"format": weights.FORMAT, "note": "hello", **HEADER}
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_readable_from_torch(tmp_path):
    from safetensors.torch import load_file

    weights.save(tmp_path / "w.safetensors", TREE, **HEADER)
    assert load_file(tmp_path / "w.safetensors")["a/params/kernel"].shape == (2, 3)


def test_unreadable_files_say_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="no such weights file"):
        weights.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, I am no weights file")
    with pytest.raises(ValueError, match="not a safetensors file"):
        weights.load(tmp_path / "text.safetensors")
    safetensors.numpy.save_file({"x": np.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="not one of d2f_jax"):
        weights.load(tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="cannot write"):
        weights.save(tmp_path / "missing" / "w.safetensors", TREE, **HEADER)


def test_check_lists_the_first_differences():
    like = {"a": {"params": {"kernel": np.ones((3, 3))}}, "c": np.ones(1)}
    with pytest.raises(ValueError, match="3 arrays do not fit") as caught:
        weights.check(TREE, like, "file")
    for part in (
        "missing c (1,)",
        "unexpected b (2,)",
        "a/params/kernel is (2, 3), expected (3, 3)",
    ):
        assert part in str(caught.value)
    weights.check(TREE, TREE, "file")
    with pytest.raises(ValueError, match=r"^x: 5 arrays do not fit: a; b; c; and 2 more$"):
        weights.refuse("abcde", "x")
