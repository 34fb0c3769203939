"""Stand-ins for the renderers that answer at once, and the photographs that tests put on disk."""

import struct
import zlib
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import onnx
from PIL import Image

from d2f_jax import pipeline
from d2f_jax.models import architectures


def make_picture(height=64, width=80):
    """A picture of smooth colours, 8 bits."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.rint(255 * np.stack([x, y, 0.5 * (x + y)], axis=-1)).astype(np.uint8)


def make_disparity(height=64, width=80):
    """0 at the left to 1 at the right."""
    return np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width)).copy()


def save_picture(path, **size):
    Image.fromarray(make_picture(**size)).save(path)
    return str(path)


def save_bright_is_near(path):
    """A depth network in an ONNX file that calls bright pixels near."""
    mean = onnx.helper.make_node("ReduceMean", ["image"], ["map"], axes=[1], keepdims=1)
    inputs = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 70, 98])
    output = onnx.helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, [1, 1, 70, 98])
    graph = onnx.helper.make_graph([mean], "bright_is_near", [inputs], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def bomb(depth):
    """A PNG that claims 2^30 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 2**15, 2**15, depth, 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + content))
        body += struct.pack(">I", len(content)) + kind + content + check
    return body


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class FakeLens:
    """Takes the place of `render.lens_blur`: keeps its arguments, returns the negative."""

    def __init__(self):
        self.calls = []

    def __call__(self, image, disparity, **options):
        self.calls.append(SimpleNamespace(disparity=disparity, **options))
        return 1 - image


class FakeD2F(pipeline.D2F):
    """Takes the place of the networks: keeps its arguments, returns the negative."""

    def __init__(self):
        object.__setattr__(self, "config", architectures.D2FConfig())
        object.__setattr__(self, "calls", [])

    def defocus(self, image):
        return jnp.asarray(self(image).defocus)

    def glance(self, image):
        return np.ones((32, 64), np.float32)  # no opinion

    def __call__(self, image, **options):
        self.calls.append(options)
        height, width = image.shape[:2]
        p, q = pipeline.working_size(height, width)
        return pipeline.D2FOutput(
            1 - image,
            np.zeros((p, q, 3), np.float32),
            make_disparity(p, q),
            np.full((p, q, 3), 2, np.float32),
            np.ones((height, width), np.float32),
            np.zeros((), np.float32),
        )
