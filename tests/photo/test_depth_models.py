"""Depth networks by name, from a hub that a small server plays."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from huggingface_hub import constants
from PIL import Image

from d2f_jax import cli, extras
from d2f_jax.photo import depth_io, depth_models, image_io, map_sources
from d2f_jax.photo.settings import MapSettings
from tests.fakes import make_picture, save_bright_is_near
from tests.photo.hub import serving

SMALL = "depth-anything-v2-small"
FILE = (
    "/onnx-community/depth-anything-v2-small/resolve/c70d1ddbcd93c9bda8098268cc3554adf5e8dd4f/"
    "onnx/model.onnx"
)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, an empty cache, and a photograph in the current folder."""
    monkeypatch.chdir(tmp_path)
    data = save_bright_is_near(tmp_path / "network.onnx").read_bytes()
    (tmp_path / "network.onnx").unlink()
    Image.fromarray(make_picture()).save("a.png")
    with serving(data) as hub:
        names = {"HF_HUB_CACHE": str(tmp_path / "cache"), "ENDPOINT": hub.address}
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (names | {"HUGGINGFACE_CO_URL_TEMPLATE": template}).items():
            monkeypatch.setattr(constants, name, value)
        yield hub


def depth_of_a(name=SMALL):
    return cli.main(["depth", "a.png", "--depth-model", name])


def test_fetched_once_then_from_the_cache_without_a_request(hub, capsys):
    assert depth_of_a() == 0
    note = f"d2f: note: {SMALL}: fetching 99 MB of onnx-community/{SMALL} at c70d1ddb, "
    err = capsys.readouterr().err
    assert note + "licence Apache-2.0\n" in err
    assert "COMMERCIAL" not in err
    assert hub.requests[-1] == f"GET {FILE}"
    made = depth_io.read_map("a_depth.png").values
    expected = make_picture().mean(-1) / 255
    assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.98

    seen = len(hub.requests)
    hub.status = 500
    assert depth_of_a() == 0
    assert len(hub.requests) == seen
    err = capsys.readouterr().err
    assert f"{SMALL}: onnx-community/{SMALL} at c70d1ddb, licence Apache-2.0\n" in err
    assert "fetching" not in err


@pytest.mark.parametrize("name", ["depth-anything-v2-base", "depth-anything-v2-large", "depth-pro"])
def test_what_is_not_for_sale_is_said_before_it_is_fetched(hub, name):
    said = []

    def notify(line):
        assert not hub.requests
        said.append(line)

    depth_models.find(name, notify)
    assert "NOT FOR COMMERCIAL USE" in said[0]
    assert hub.requests


def test_as_users_start_it(hub, tmp_path):
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "d2f_jax", "depth", "a.png", "--depth-model", SMALL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a_depth.png\n"), done.stderr
    assert hub.requests[-1] == f"GET {FILE}"
    offline = environment | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "other")}
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"d2f: --depth-model {SMALL}: cannot fetch it (")


def breaks_off(hub):
    hub.sent = 40


def claims_another_checksum(hub):
    hub.tag = "0" * 64


def has_no_such_file(hub):
    hub.status = 404


def is_overloaded(hub):
    hub.status = 503


def is_down(hub):
    constants.HUGGINGFACE_CO_URL_TEMPLATE = (
        "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    )


@pytest.mark.parametrize(
    "trouble", [breaks_off, claims_another_checksum, has_no_such_file, is_overloaded, is_down]
)
def test_trouble_is_one_line_and_leaves_nothing_that_would_be_used(hub, capsys, trouble):
    before = hub.sent, hub.tag, hub.status
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    trouble(hub)
    assert depth_of_a() == 2
    note, line = capsys.readouterr().err.splitlines()
    assert note.startswith(f"d2f: note: {SMALL}: fetching")
    assert line.startswith(f"d2f: --depth-model {SMALL}: cannot fetch it (")
    assert line.endswith(
        f"get onnx/model.onnx of onnx-community/{SMALL} by hand and name it: "
        f"--depth-model {SMALL}=FILE"
    )
    assert not Path("a_depth.png").exists()

    hub.sent, hub.tag, hub.status = before
    constants.HUGGINGFACE_CO_URL_TEMPLATE = template
    assert depth_of_a() == 0


def test_a_file_that_is_no_network(hub, capsys):
    hub.data = b"<html>Please log in</html>"
    hub.sent, hub.tag = len(hub.data), "1"
    assert depth_of_a() == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "model.onnx: not a readable ONNX network" in line


def test_a_network_of_another_size(hub, capsys):
    """The file of the stand-in takes 70x98 pixels and no others."""
    assert depth_of_a("midas-small") == 2
    assert "the network failed ([ONNXRuntimeError] : 2" in capsys.readouterr().err.splitlines()[-1]


def test_without_the_library(hub, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert depth_of_a() == 2
    assert f"needs huggingface_hub: {extras.hint('depth')}" in capsys.readouterr().err


def test_unknown_names_are_refused_with_the_known_ones(hub, capsys):
    assert depth_of_a("depth-anything") == 2
    err = capsys.readouterr().err
    assert "no such file, and no network of that name: depth-anything-v2-small, " in err
    assert not hub.requests
    assert depth_of_a("none.onnx") == 2
    assert "none.onnx: no such file" in capsys.readouterr().err


def save_shouts_its_input(path, side):
    """A network that returns the red channel as it gets it, of one size only."""
    flow = onnx.TensorProto.FLOAT
    one = onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [0])
    node = onnx.helper.make_node("Gather", ["image", "one"], ["map"], axis=1)
    graph = onnx.helper.make_graph(
        [node],
        "red",
        [onnx.helper.make_tensor_value_info("image", flow, [1, 3, side, side])],
        [onnx.helper.make_tensor_value_info("map", flow, [1, 1, side, side])],
        [one],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [("depth-anything-v2-large", 518, (0.8 - 0.485) / 0.229), ("midas-small", 256, 0.8)],
)
def test_normalisation_of_networks_got_by_hand(tmp_path, name, side, expected):
    save_shouts_its_input(tmp_path / "x.onnx", side)
    Image.fromarray(np.full((64, 96, 3), 204, np.uint8)).save(tmp_path / "a.png")
    mapped = mapped_by(tmp_path, f"{name}={tmp_path / 'x.onnx'}")
    assert not mapped.metric
    np.testing.assert_allclose(mapped.disparity, expected, rtol=1e-4)


def test_depth_pro_tells_metres(tmp_path, monkeypatch, lens):
    """2 (0.8 - 0.5) = 0.6 m; another file does so if it is told."""
    save_shouts_its_input(tmp_path / "x.onnx", 1536)
    Image.fromarray(np.full((64, 96, 3), 204, np.uint8)).save(tmp_path / "a.png")
    mapped = mapped_by(tmp_path, f"depth-pro={tmp_path / 'x.onnx'}")
    assert mapped.metric
    np.testing.assert_allclose(mapped.disparity, 1 / 0.6, rtol=1e-4)

    monkeypatch.chdir(tmp_path)
    Image.fromarray(make_picture() // 3 + 150).save("b.png")
    real = ["--f-number", "2", "--focal-length", "50", "--sensor", "36", "--focus", "0.5m"]
    assert cli.main(["bokeh", "b.png", "--depth-model", "depth-pro=x.onnx", *real]) == 0
    assert cli.main(["bokeh", "b.png", "--depth-model", "x.onnx", *real]) == 2
    plain = ["--depth-model", "x.onnx", "--convention", "metres"]
    assert cli.main(["bokeh", "b.png", *plain, *real]) == 0
    assert len(lens.calls) == 2


def mapped_by(folder, model):
    photo = image_io.read_photo(folder / "a.png")
    source = map_sources.find(MapSettings(depth_model=model))
    return source(folder / "a.png", photo, print).map


def test_every_network_is_described():
    for network in depth_models.NETWORKS.values():
        assert len(network.revision) == 40
        assert network.licence in network.described
        assert ("NOT FOR COMMERCIAL USE" in network.described) != network.commercial


def test_a_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("own.onnx", "b.onnx", "a=b.onnx"):
        (tmp_path / name).touch()
    (tmp_path / "midas-small").mkdir()
    assert depth_models.absolute("own.onnx") == f"{tmp_path}/own.onnx"
    assert depth_models.absolute("a=b.onnx") == f"{tmp_path}/a=b.onnx"
    assert depth_models.absolute("midas-small=own.onnx") == f"midas-small={tmp_path}/own.onnx"
    for text in ("midas-small", "midas-small=none.onnx", "midas-small=", "none.onnx"):
        assert depth_models.absolute(text) == text
