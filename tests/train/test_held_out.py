import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import architectures
from tests.train.test_export import CONFIG, save_run
from train import held_out


def test_separation_counts_ordered_pairs():
    defocus = np.array([[0.0, 0.2, 0.2, 0.9]])
    subject = np.array([[True, True, False, False]])
    # Of the four pairs three are in order and one is a tie.
    assert held_out.separation(defocus, subject) == pytest.approx(3.5 / 4)
    assert held_out.separation(-defocus, subject) == pytest.approx(0.5 / 4)
    with pytest.raises(ValueError, match="both subject and background"):
        held_out.separation(defocus, np.ones_like(subject))


def test_a_run_is_judged_like_its_exported_weights(tmp_path):
    save_run(tmp_path / "run", CONFIG)
    model = held_out.load(tmp_path / "run")
    assert model.config == architectures.ARCHITECTURES["d2f-smoke"]
    picture = np.random.default_rng(0).uniform(0, 1, (64, 64, 3)).astype(np.float32)
    assert model(jnp.asarray(picture), blur=0.3).bokeh.shape == (64, 64, 3)
