"""Weights with several decoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import pipeline
from d2f_jax.models import architectures, weights
from tests.conftest import quick_key
from train import join

ABOUT = {"architecture": "d2f-smoke", "source": "made", "licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def trees():
    """Two stage-1 trees with one encoder and different decoders."""
    config = architectures.named("d2f-smoke")
    one, other = (architectures.init(config, quick_key(seed)) for seed in (0, 1))
    params = {**one.defocus["params"], "decoder": other.defocus["params"]["decoder"]}
    return (
        {"defocus": one.defocus, "radiance": one.radiance},
        {"defocus": {**one.defocus, "params": params}, "radiance": other.radiance},
    )


@pytest.fixture
def parts(tmp_path, trees):
    paths = (tmp_path / "one.safetensors", tmp_path / "other.safetensors")
    for path, tree in zip(paths, trees, strict=True):
        weights.save(path, tree, **ABOUT)
    return paths


@pytest.mark.slow
def test_the_map_is_the_mean_and_joining_goes_on(tmp_path, parts):
    out, more = tmp_path / "two.safetensors", tmp_path / "three.safetensors"
    join.join(join.Arguments(parts=parts, out=out))
    image = jax.random.uniform(jax.random.key(0), (64, 128, 3))
    one, other, both = (pipeline.load(path) for path in (*parts, out))
    assert both.config.defocus_net.decoders == 2
    raw = [m.config.defocus_net.apply(m.params.defocus, image) for m in (one, other, both)]
    assert float(jnp.abs(raw[0] - raw[1]).max()) > 0.1
    cut = [jnp.clip(x, 0, 1) for x in raw]
    np.testing.assert_allclose(cut[2], (cut[0] + cut[1]) / 2, atol=5e-3)  # float16
    assert both.metadata["source"] == "made; made"
    assert both.metadata["licence"] == "CC0-1.0"
    join.join(join.Arguments(parts=(out, parts[0]), out=more, licence="MIT"))
    assert pipeline.load(more).metadata["licence"] == "MIT"
    assert pipeline.load(more).config == architectures.named("d2f-smoke", 3)


def test_what_cannot_be_joined_is_refused(tmp_path, parts):
    out = tmp_path / "out.safetensors"
    with pytest.raises(ValueError, match="two or more"):
        join.join(join.Arguments(parts=parts[:1], out=out))
    stranger = architectures.init(architectures.named("d2f-smoke"), quick_key(2))
    tree = {"defocus": stranger.defocus, "radiance": stranger.radiance}
    weights.save(tmp_path / "stranger.safetensors", tree, **ABOUT)
    with pytest.raises(ValueError, match=r"stranger\.safetensors: has another encoder than .*one"):
        join.join(join.Arguments(parts=(parts[0], tmp_path / "stranger.safetensors"), out=out))
    with pytest.raises(ValueError, match=r"one\.safetensors: d2f-smoke, where .*: d2f-lite"):
        join.join(join.Arguments(parts=(pipeline.DEFAULT_WEIGHTS, parts[0]), out=out))
    assert not out.exists()


def test_a_lost_decoder_is_told(tmp_path, trees):
    """The second of three is missing: what is there counts as two, and the third is too many."""
    first, second = trees
    params = {**first["defocus"]["params"], "decoder3": second["defocus"]["params"]["decoder"]}
    tree = {**first, "defocus": {**first["defocus"], "params": params}}
    weights.save(tmp_path / "w.safetensors", tree, **ABOUT)
    with pytest.raises(ValueError, match="missing defocus/params/decoder2/"):
        pipeline.load(tmp_path / "w.safetensors")
