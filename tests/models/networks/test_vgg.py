import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from d2f_jax.models.networks import vgg

WIDTHS = (3, 4, 5, 6, 7)


def torch_vgg(blocks):
    """A narrow VGG with torchvision's numbering of layers, and its feature maps after each ReLU."""
    layers, channels = [], 3
    for count, width in zip(blocks, WIDTHS, strict=True):
        for _ in range(count):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    torch.manual_seed(0)
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return torch.nn.Sequential(*layers)


def numpy_state(network):
    return {f"features.{k}": v.numpy() for k, v in network.state_dict().items()}


def lpips_tree():
    rng = np.random.default_rng(0)
    shapes = [(i, o) for _, _, i, o in vgg._layers(vgg.VGG16, WIDTHS)]
    network = {
        f"Conv_{n}": {
            "kernel": rng.standard_normal((3, 3, i, o)).astype(np.float32),
            "bias": rng.standard_normal(o).astype(np.float32),
        }
        for n, (i, o) in enumerate(shapes)
    }
    linear = {
        f"NetLinLayer_{n}": {"Conv_0": {"kernel": rng.random((1, 1, w, 1)).astype(np.float32)}}
        for n, w in enumerate(WIDTHS)
    }
    return {"VGG16_0": network, **linear}


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("blocks", "taps"),
    [(vgg.VGG16, vgg.LPIPS_TAPS), (vgg.VGG19, ((1, 1), (3, 4), (5, 4)))],
)
def test_features_equal_torch(blocks, taps):
    network = torch_vgg(blocks)
    params = vgg.params_from_state_dict(numpy_state(network), blocks=blocks, widths=WIDTHS)
    image = np.random.default_rng(1).random((2, 40, 56, 3), np.float32)
    net = vgg.VGG(blocks=blocks, taps=taps, widths=WIDTHS)
    got = net.apply({"params": params}, jnp.asarray(image))

    x = torch.from_numpy((image - np.float32(vgg.MEAN)) / np.float32(vgg.DEVIATION))
    x, wanted, block, index = x.permute(0, 3, 1, 2), [], 1, 0
    for layer in network:
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            index += 1
            if (block, index) in taps:
                wanted.append(x.detach().permute(0, 2, 3, 1).numpy())
        elif isinstance(layer, torch.nn.MaxPool2d):
            block, index = block + 1, 0
    assert len(got) == len(wanted) == len(taps)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_layers_beyond_the_last_tap_are_not_made():
    net = vgg.VGG(blocks=vgg.VGG19, taps=((1, 2), (2, 2)), widths=WIDTHS)
    params = net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    assert sorted(params) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]


def test_a_tap_that_does_not_exist_is_named():
    net = vgg.VGG(blocks=vgg.VGG16, taps=((3, 4),), widths=WIDTHS)
    with pytest.raises(ValueError, match=r"has no layer \[\(3, 4\)\]"):
        net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_the_classifier_may_be_there():
    state = numpy_state(torch_vgg(vgg.VGG16)) | {"classifier.0.weight": np.zeros((2, 2))}
    assert len(vgg.params_from_state_dict(state, blocks=vgg.VGG16, widths=WIDTHS)) == 13


def test_every_fault_of_a_state_dict_is_listed_at_once():
    state = numpy_state(torch_vgg(vgg.VGG16))
    del state["features.0.bias"]
    state["features.2.weight"] = state["features.2.weight"][:, :, :1]
    state["extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"missing features\.0\.bias") as error:
        vgg.params_from_state_dict(state, blocks=vgg.VGG16, widths=WIDTHS)
    assert "unknown extra.weight" in str(error.value)
    assert "features.2.weight is (3, 3, 1, 3), not (3, 3, 3, 3)" in str(error.value)


def test_lpips_weights_read_from_a_pickle_and_from_npz(tmp_path):
    tree = lpips_tree()
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps(tree, protocol=4))
    np.savez(tmp_path / "vgg16.npz", **vgg._flattened(tree))
    for name in ("vgg16.ckpt", "vgg16.npz"):
        weights = vgg.load_lpips(tmp_path / name, widths=WIDTHS)
        kernel = tree["VGG16_0"]["Conv_12"]["kernel"]
        np.testing.assert_array_equal(weights.params["conv5_3"]["kernel"], kernel)
        assert [w.shape for w in weights.linear] == [(w,) for w in WIDTHS]
        net = vgg.VGG(blocks=vgg.VGG16, taps=vgg.LPIPS_TAPS, widths=WIDTHS)
        maps = net.apply({"params": weights.params}, jnp.zeros((32, 48, 3)))
        assert [m.shape for m in maps] == [(32 >> n, 48 >> n, w) for n, w in enumerate(WIDTHS)]


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("this must not run",)

    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps({"VGG16_0": Trap()}))
    with pytest.raises(
        ValueError, match=r"not a pickle of plain arrays: it asks for builtins\.print"
    ):
        vgg.load_lpips(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])])
def test_files_of_another_kind_are_refused(tmp_path, content):
    for name in ("vgg16.ckpt", "vgg16.npz"):
        with pytest.raises(ValueError, match=rf"{name}: no such file"):
            vgg.load_lpips(tmp_path / name)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} "):
            vgg.load_lpips(tmp_path / name)


def test_lpips_faults_are_listed_at_once(tmp_path):
    tree = lpips_tree()
    del tree["VGG16_0"]["Conv_3"]
    tree["NetLinLayer_0"]["Conv_0"]["kernel"] = np.zeros((1, 1, 9, 1), np.float32)
    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps(tree))
    with pytest.raises(ValueError, match="missing VGG16_0/Conv_3/kernel") as error:
        vgg.load_lpips(path, widths=WIDTHS)
    assert "NetLinLayer_0/Conv_0/kernel is (1, 1, 9, 1), not (1, 1, 3, 1)" in str(error.value)
