import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import metrics as sk

from d2f_jax.training import evaluation, metrics


def noisy(rng, truth, amount):
    return np.clip(truth + amount * rng.standard_normal(truth.shape), 0, 1).astype(np.float32)


def save(path, picture):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.uint8(np.round(picture * 255))).save(path)


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        truth = rng.random((80, 100, 3), np.float32)
        save(tmp_path / "truth" / f"{number}.png", truth)
        save(tmp_path / "ours" / f"{number}.png", noisy(rng, truth, 0.01 * (1 + number)))
    return tmp_path


def test_the_numbers_are_those_of_scikit_image(folders):
    scored = evaluation.evaluate_folders(folders / "ours", folders / "truth")
    assert list(scored.scores) == [str(n) for n in range(12)]
    for name, scores in scored.scores.items():
        ours, truth = (
            np.asarray(Image.open(folders / kind / f"{name}.png")) for kind in ("ours", "truth")
        )
        wanted = sk.peak_signal_noise_ratio(truth, ours)
        np.testing.assert_allclose(scores["8bit-uniform PSNR"], wanted, rtol=1e-5)
        np.testing.assert_allclose(scores["gaussian PSNR"], wanted, rtol=1e-5)
        wanted = sk.structural_similarity(truth, ours, channel_axis=-1)
        np.testing.assert_allclose(scores["8bit-uniform SSIM"], wanted, atol=1e-5)
        wanted = sk.structural_similarity(
            truth,
            ours,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        np.testing.assert_allclose(scores["gaussian SSIM"], wanted, atol=1e-5)


def test_what_is_written(folders):
    scored = evaluation.evaluate_folders(folders / "ours", folders / "truth")
    scored.write(folders / "out")
    content = json.loads((folders / "out/scores.json").read_text())
    assert content["likely"] == metrics.LIKELY.name
    assert content["pictures"] == scored.scores
    mean = content["means"]["gaussian PSNR"]
    values = [scores["gaussian PSNR"] for scores in scored.scores.values()]
    np.testing.assert_allclose(mean["mean"], np.mean(values))
    assert mean["low"] < mean["mean"] < mean["high"]
    table = (folders / "out/scores.md").read_text()
    assert f"| **{metrics.LIKELY.name}** | {mean['mean']:.4f} [" in table
    assert metrics.LIKELY_REASON in table
    for convention in metrics.CONVENTIONS:
        assert convention.note in table
    with Image.open(folders / "out/worst.jpg") as sheet:
        assert sheet.size == (3 * 320, 10 * 256)
    assert not list((folders / "out").glob(".*"))


def test_the_worst_come_first(folders):
    scored = evaluation.evaluate_folders(folders / "ours", folders / "truth")
    psnr = {name: scores["gaussian PSNR"] for name, scores in scored.scores.items()}
    wanted = sorted(psnr, key=lambda name: psnr[name])[:10]
    assert [worst.name for worst in scored._worst] == wanted


def test_equal_pictures_are_infinitely_good():
    scored = evaluation.Evaluation()
    picture = np.random.default_rng(0).random((80, 80, 3)).astype(np.float32)
    scored.add("same", picture, picture)
    assert scored.means()["gaussian PSNR"].mean == np.inf
    assert "inf [nan, nan]" in scored.table()
    assert "Infinity" not in evaluation._json(scored.scores)


def test_a_distance_adds_lpips(folders):
    def distance(prediction, truth):
        return jnp.abs(prediction - truth).mean()

    scored = evaluation.evaluate_folders(folders / "ours", folders / "truth", lpips=distance)
    assert 0 < scored.scores["0"]["LPIPS"] < scored.scores["11"]["LPIPS"]
    assert "LPIPS (VGG16)" in scored.table()


def test_lpips_wants_its_own_file(tmp_path):
    with pytest.raises(ValueError, match=r"missing.ckpt: no such file"):
        evaluation.lpips_distance(tmp_path / "missing.ckpt")
    (tmp_path / "other.ckpt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="does not hold the LPIPS weights"):
        evaluation.lpips_distance(tmp_path / "other.ckpt")


def test_all_faults_of_two_folders_are_reported_at_once(folders):
    (folders / "ours/0.png").unlink()
    (folders / "truth/1.png").unlink()
    save(folders / "ours/2.png", np.zeros((80, 90, 3)))
    (folders / "truth/3.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="4 faults") as error:
        evaluation.evaluate_folders(folders / "ours", folders / "truth")
    for text in (
        "truth/0.png has no prediction",
        "ours/1.png has no ground truth",
        "ours/2.png is 80x90 but",
        "truth/3.png: not a picture of a known kind",
    ):
        assert text in str(error.value)


def test_empty_folders_and_small_pictures_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="a holds no pictures"):
        evaluation.evaluate_folders(tmp_path / "a", tmp_path / "a")
    with pytest.raises(ValueError, match="is not a folder"):
        evaluation.evaluate_folders(tmp_path / "no", tmp_path / "a")
    with pytest.raises(ValueError, match="tiny: an image of 60x90 is too small"):
        evaluation.Evaluation().add("tiny", *[np.zeros((60, 90, 3), np.float32)] * 2)
    with pytest.raises(ValueError, match="the prediction is 8x9 but the ground truth 9x8"):
        evaluation.Evaluation().add(
            "x", np.zeros((8, 9, 3), np.float32), np.zeros((9, 8, 3), np.float32)
        )
    with pytest.raises(ValueError, match="no picture was scored"):
        evaluation.Evaluation().write(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    scored = evaluation.Evaluation()
    scored.add("x", *[np.zeros((80, 80, 3), np.float32)] * 2)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write the scores into"):
        scored.write(tmp_path / "file")
