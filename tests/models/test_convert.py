import subprocess
import sys

import jax
import numpy as np
import pytest
import torch

from d2f_jax import pipeline
from d2f_jax.models import architectures, convert, weights


def tensors(state_dict):
    return {name: torch.from_numpy(np.array(array)) for name, array in state_dict.items()}


@pytest.mark.optimised
def test_every_released_key_has_a_place(released_state_dicts):
    """And the parameters are the paper's network: 41 600 513 with the unit that never runs."""
    first = convert.convert(released_state_dicts["stage1"], convert.stage1_rows())
    second = convert.convert(released_state_dicts["stage2"], convert.STAGE2_ROWS)
    tree = convert.split_networks(first) | convert.split_networks(second)
    count = {name: sum(x.size for x in jax.tree.leaves(tree[name]["params"])) for name in tree}
    unused = 2 * (256 * 256 * 9 + 256)
    assert count == {"defocus": 41_600_513 - unused, "radiance": 353, "fusion": 12_913}


def test_strict_about_keys_and_shapes(released_state_dicts):
    state = dict(released_state_dicts["stage2"])
    state["blend.conv9.weight"] = state.pop("blend.conv1.0.bias")
    state["blend.conv2.0.bias"] = state["blend.conv2.0.weight"]
    with pytest.raises(ValueError, match="3 arrays do not fit") as caught:
        convert.convert(state, convert.STAGE2_ROWS, what="b.pth")
    for part in (
        "missing blend.conv1.0.bias",
        "unexpected blend.conv9.weight",
        "blend.conv2.0.bias",
    ):
        assert part in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoints_to_pipeline(tmp_path, released_state_dicts, released_d2f, wrapped):
    for stage, state in released_state_dicts.items():
        if wrapped:  # as some training scripts save, and in torch's DataParallel
            parallel = {f"module.{name}": value for name, value in tensors(state).items()}
            whole = {"net": parallel, "optimizer": {}}
        else:
            whole = tensors(state)
        torch.save(whole, tmp_path / f"{stage}.pth")
    out = tmp_path / "d2f.safetensors"
    convert.convert_checkpoints(tmp_path / "stage1.pth", tmp_path / "stage2.pth", out)
    loaded = pipeline.load(out)
    assert loaded.metadata["architecture"] == "d2f-resnext50"
    jax.tree.map(np.testing.assert_array_equal, loaded.params, released_d2f.params)


def test_wrong_files_are_refused(tmp_path, released_state_dicts):
    torch.save(tensors(released_state_dicts["stage2"]), tmp_path / "stage2.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    out = tmp_path / "out.safetensors"
    for name, message in (
        ("none.pth", "no such checkpoint"),
        ("text.pth", "not a torch state dict; give the file that torch.save wrote"),
        ("other.pth", "holds no state dict"),
        ("stage2.pth", "missing midas"),
    ):
        with pytest.raises(ValueError, match=message):
            convert.convert_checkpoints(tmp_path / name, tmp_path / "stage2.pth", out)
    assert not out.exists()


def test_pickles_with_code_are_refused(tmp_path):
    torch.save({"net": torch.nn.Linear(2, 2)}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="not a torch state dict"):
        convert.load_state_dict(tmp_path / "code.pth")


def test_without_torch_it_says_so(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from d2f_jax.models import convert\n"
        f"try: convert.load_state_dict({str(tmp_path / 'a.pth')!r})\n"
        "except ValueError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install torch" in result.stdout, result.stderr


def test_torchvision_backbone(released_state_dicts):
    """The rows of torchvision's resnext50 give the encoder of the released checkpoint."""
    prefix = "midas.pretrained.layer"
    renamed = {}
    for name, array in released_state_dicts["stage1"].items():
        if not name.startswith(prefix):
            continue
        rest = name.removeprefix(prefix)
        for old, new in (("1.0.", "conv1."), ("1.1.", "bn1."), ("1.4.", "layer1.")):
            if rest.startswith(old):
                renamed[new + rest.removeprefix(old)] = array
                break
        else:
            renamed[f"layer{rest}"] = array
    renamed |= {"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}
    ours = convert.convert(renamed, convert.resnext50_rows())
    whole = convert.convert(released_state_dicts["stage1"], convert.stage1_rows())
    for collection in ("params", "batch_stats"):
        expected = whole[collection]["defocus"]["encoder"]
        jax.tree.map(np.testing.assert_array_equal, ours[collection], expected)


def test_tree_of_random_init_and_converted_one_are_alike(released_d2f):
    like = jax.eval_shape(
        lambda key: architectures.init(architectures.D2FConfig(), key), jax.random.key(0)
    )
    weights.check(released_d2f.params._asdict(), like._asdict(), "converted")
