import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from d2f_jax.photo import depth


def write_network(path, side, metadata=None):
    """A network that returns the mean of its three normalised channels."""
    source = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    target = helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceMean", ["image", "axes"], ["depth"], keepdims=0)
    graph = helper.make_graph([node], "net", [source], [target], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("side", [28, "side"])
def test_network_sees_the_normalised_picture_and_answers_at_its_size(tmp_path, side):
    path = write_network(tmp_path / "net.onnx", side, {"mean": [0.5] * 3, "std": [0.25] * 3})
    model = depth.load_onnx(path, depth.DepthConfig(short_side=28))
    image = np.repeat(np.linspace(0, 1, 60, dtype=np.float32)[:, None, None], 3, -1)
    image = np.repeat(image, 60, 1)
    image = image[:, :45]
    disparity = model(image)
    assert disparity.shape == (28, 21) if side == 28 else (42, 31)  # multiples of 14, then 4 to 3
    ramp = (np.arange(len(disparity)) + 0.5) / len(disparity)
    expected = (np.interp(60 * ramp - 0.5, np.arange(60), image[:, 0, 0]) - 0.5) / 0.25
    expected = np.broadcast_to(expected[:, None], disparity.shape)
    np.testing.assert_allclose(disparity[2:-2], expected[2:-2], atol=0.02)


def test_given_normalisation_and_distance(tmp_path):
    path = write_network(tmp_path / "net.onnx", 14)
    config = depth.DepthConfig(mean=(0.0,) * 3, std=(1.0,) * 3, convention="metres")
    image = np.full((20, 30, 3), 0.5, np.float32)
    np.testing.assert_allclose(depth.load_onnx(path, config)(image), 2.0, rtol=1e-5)


def test_files_that_are_no_depth_network_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        depth.load_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="not a readable ONNX network"):
        depth.load_onnx(tmp_path / "bad.onnx")
