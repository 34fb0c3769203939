"""The weights of the package: whole, small, and of use on a photograph that training never saw."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import pipeline
from d2f_jax.models import weights
from d2f_jax.photo import image_io

SAMPLE = Path(__file__).parents[2] / "docs" / "samples" / "otter.jpg"


@pytest.fixture(scope="module")
def model():
    return pipeline.load()


@pytest.fixture(scope="module")
def otter(model):
    image = jnp.asarray(image_io.read_photo(SAMPLE).image)
    return image, model(image, blur=0.667)


def test_they_say_what_they_are_and_are_small(model):
    assert pipeline.DEFAULT_WEIGHTS.stat().st_size < 16_000_000
    assert model.metadata["architecture"] == "d2f-lite"
    assert model.metadata["licence"].startswith("Apache-2.0")
    assert len(model.metadata["sha256"]) == 64


def test_they_fit_their_architecture(tmp_path):
    """As `pipeline.load` asks of all files but its own."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(pipeline.DEFAULT_WEIGHTS.read_bytes())
    assert pipeline.load(copy).config == pipeline.load().config


def test_the_otter_is_sharp_and_the_rest_is_not(otter):
    image, out = otter
    rows, columns = out.defocus.shape
    body = out.defocus[rows * 53 // 100 : rows * 67 // 100, columns * 57 // 100 : columns * 3 // 4]
    water = out.defocus[: rows // 4]
    assert float(body.max()) < 0.1
    assert float(water.min()) > 0.3
    change = np.abs(np.asarray(out.bokeh - image)).mean(-1)
    height, width = change.shape
    inside = change[height * 53 // 100 : height * 67 // 100, width * 57 // 100 : width * 3 // 4]
    assert inside.mean() < 1 / 255
    assert change[height // 2 :].mean() > 2 * inside.mean()


def test_the_end_of_the_otters_tail_takes_a_second_look(model, otter):
    """Its end is dark and thin: a map of 256 pixels alone blurs it."""
    image, out = otter
    plain = pipeline.D2F(dataclasses.replace(model.config, outline_side=None), model.params, {})
    rows, columns = out.defocus.shape
    tail = (
        slice(rows * 60 // 100, rows * 66 // 100),
        slice(columns * 91 // 100, columns * 93 // 100),
    )
    edge = model.config.theta / 2
    assert float((out.defocus[tail] < edge).mean()) > 0.9
    assert float((plain.defocus(image)[tail] < edge).mean()) < 0.5


def test_a_damaged_file_is_refused(tmp_path):
    data = bytearray(pipeline.DEFAULT_WEIGHTS.read_bytes())
    data[-1000] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="damaged, its checksum"):
        weights.load(tmp_path / "damaged.safetensors")
