import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import (
    bench_focus,
    bench_ground_truth,
    bench_lens,
    bench_memory,
    common,
    gallery,
    inputs,
    peers,
    report,
    torch_baseline,
    torch_lens,
    words,
)
from d2f_jax.models import architectures, defocus
from d2f_jax.render import convolution
from tests.conftest import load_golden
from tests.models.test_defocus import TINY
from tests.tolerances import EXACT, GOLDEN_GRADIENT, GOLDEN_PIPELINE, GOLDEN_RENDER, TWIN

RENDERERS = [torch_baseline.DirectRenderer, torch_baseline.FastRenderer]


@pytest.mark.optimised
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("case", [0, 1, 2])
def test_torch_renderers_equal_the_released_one(renderer, case):
    golden = load_golden(f"render_{case}.npz")
    scene = [common.to_torch(golden[name]) for name in ("image", "weight", "defocus")]
    scene = [tensor.requires_grad_() for tensor in scene]
    bokeh = renderer()(*scene)
    np.testing.assert_allclose(common.from_torch(bokeh), golden["bokeh"], atol=GOLDEN_RENDER)
    loss = (common.to_torch(golden["probe"]) * bokeh).sum()
    gradients = torch.autograd.grad(loss, scene)
    for gradient, name in zip(gradients, ("image", "weight", "defocus"), strict=True):
        expected = np.squeeze(golden[f"grad_{name}"])
        error = np.linalg.norm(common.from_torch(gradient) - expected)
        assert error < GOLDEN_GRADIENT * np.linalg.norm(expected), name


@pytest.mark.optimised
@pytest.mark.parametrize("renderer", RENDERERS)
def test_torch_pipelines_equal_the_released_script(renderer, released_d2f):
    golden = load_golden("pipeline.npz")
    net = torch_baseline.load(released_d2f.params._asdict(), renderer())
    with torch.inference_mode():
        out = net(common.to_torch(golden["image"]))
    for tensor, name in (
        (out.bokeh, "bokeh"),
        (out.rendered, "bokeh_lr"),
        (out.defocus, "defocus"),
        (out.fusion_mask, "mask"),
    ):
        ours = common.from_torch(tensor)
        np.testing.assert_allclose(ours, golden[name], atol=GOLDEN_PIPELINE, err_msg=name)


def test_state_dict_is_the_converter_backwards(released_d2f, released_state_dicts):
    state = torch_baseline.state_dict(released_d2f.params._asdict())
    released = released_state_dicts["stage1"] | released_state_dicts["stage2"]
    left_out = {key for key in released if key not in state}
    for key in left_out:
        assert "num_batches_tracked" in key or "refinenet4.resConfUnit1" in key
    for key, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), released[key])


@pytest.mark.parametrize("size", [3, 9])
def test_one_layer_equals_ours(size):
    planes = np.random.default_rng(0).random((3, 30, 41), dtype=np.float32)
    kernel = np.random.default_rng(1).random((size, size), dtype=np.float32)
    kernel = (kernel + kernel[::-1, ::-1]) / (2 * kernel.sum())  # torch's does not mirror it
    expected = convolution.convolve_reference(jnp.asarray(planes), jnp.asarray(kernel))
    for blur in (torch_baseline.blur_direct, torch_baseline.blur_fft):
        ours = blur(torch.from_numpy(planes)[None], torch.from_numpy(kernel))[0]
        np.testing.assert_allclose(ours, expected, atol=TWIN)


@pytest.mark.slow
@pytest.mark.parametrize("tile", [20, None])
@pytest.mark.parametrize("radii", [(-6.3, 7.2), (3.1, 5.4), (0.0, 0.0)])
@pytest.mark.parametrize("name", ["scatter", "multiplane"])
def test_torch_lens_blurs_equal_the_plain_ones(name, radii, tile):
    """In several tiles and in one; without a focus every disc of a tile has a common part."""
    image = inputs.photograph(31, 42)
    coc_radius = radii[0] + (radii[1] - radii[0]) * inputs.defocus_map(31, 42)
    expected = getattr(peers, name)(image, coc_radius)
    tensors = map(common.to_torch, (image, coc_radius))
    with torch.inference_mode():
        bokeh = common.from_torch(getattr(torch_lens, name)(*tensors, tile=tile))
    np.testing.assert_allclose(bokeh, expected, atol=bench_lens.TOLERANCE)


@pytest.mark.slow
def test_lens_contenders_are_compared_with_their_twins():
    found = bench_lens.compared()
    for kind in ("forward", "gradients"):
        largest = found[kind]["largest_difference"]
        assert set(largest) == {bench_lens.SCATTER, bench_lens.PLANES}
        assert max(largest.values()) < bench_lens.TOLERANCE


def test_pace_is_that_of_the_last_size_that_was_timed():
    def row(pixels, radius, **seconds):
        timed = {name: {"median_s": value} for name, value in seconds.items()}
        return {"pixels": pixels, "radius": radius, "contenders": timed}

    rows = [row(100, 15, a=1.0, b=2.0), row(100, 30, a=5.0), row(400, 15, a=6.0)]
    assert bench_lens.expected("a", 15, 1200, rows) == pytest.approx(18.0)
    assert bench_lens.expected("b", 15, 1200, rows) == pytest.approx(24.0)
    assert bench_lens.expected("b", 30, 1200, rows) == 0


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("measure", [bench_memory.row, bench_memory.command_row])
def test_memory_is_that_of_another_process(measure):
    """One photo of a process of its own: more than the picture, less than the machine."""
    row = measure(256, 384)
    assert row["case"].startswith("256x384 ")
    assert 0.2 < row["peak_gb"] < 4
    assert row["contenders"][common.OURS]["median_s"] > 0
    with pytest.raises(ValueError, match=r"32x48 .*: .*64"):
        measure(32, 48)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_made_parameters_fill_the_layers(train):
    images = inputs.photograph(64, 96)[None]
    assert float(images.min()) >= 0
    assert float((images == 1).mean()) > 0.001
    net = defocus.DefocusNet(encoder=TINY, features=8, head=(8, 4))
    config = architectures.D2FConfig(defocus_net=net)
    params = inputs.parameters(config, images, train=train)
    apply = functools.partial(net.apply, train=train, mutable=["batch_stats"])
    made = jax.jit(apply)(params.defocus, images)[0]
    np.testing.assert_allclose((made.min(), made.max()), (0.02, 0.98), atol=1e-4)


def test_statistics_in_closed_form():
    summary = common.summary([5.0, 1.0, 2.0, 4.0, 3.0])
    assert summary["median_s"] == 3
    assert summary["quartiles_s"] == [2, 4]
    # Alternately disturbed rounds: the medians disagree with the rounds, which see through it.
    ratios = common.ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])
    assert ratios == {"of_medians": 2, "pairwise_median": 2, "pairwise_quartiles": [2, 2]}
    assert common.ratios([1.0], [4.0])["of_medians"] == pytest.approx(0.25)


def test_measure_compares_before_it_times():
    order = []

    def contender(name, value):
        def call():
            order.append(name)
            return value

        return common.Contender(name, call, lambda x: {"x": np.array(x)})

    same = [contender("a", 1.0), contender("b", 1.0)]
    row = common.measure("case", same, tolerance=EXACT, repetitions=2, pause=0.0)
    # First calls, warm-up, a round, and a round in the opposite order.
    assert "".join(order) == "abababba"
    assert row["largest_difference"] == {"b": 0.0}
    assert len(row["contenders"]["a"]["times_s"]) == 2
    for wrong in (1.1, float("nan")):
        order.clear()
        different = [contender("a", 1.0), contender("b", wrong)]
        with pytest.raises(ValueError, match="case: x of b differs from ours"):
            common.measure("case", different, tolerance=0.01, repetitions=2, pause=0.0)
        assert "".join(order) == "ab"


def test_measure_times_what_differs_by_design():
    contenders = [common.Contender(n, lambda: None, lambda _: 1 / 0) for n in ("a", "b")]
    row = common.measure("case", contenders, tolerance=None, repetitions=1, pause=0.0)
    assert row["largest_difference"] == {}
    assert set(row["contenders"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "python -m benchmarks.bench_cli"),
        (["--quick", "--rounds", "2"], "python -m benchmarks.bench_cli --quick --rounds 2"),
        (["--official", "CHECKOUT"], "python -m benchmarks.bench_cli --official PATH"),
    ],
)
def test_results_name_the_command_as_run(tmp_path, words, command):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/bokeh_net.py").touch()
    words = [word.replace("CHECKOUT", str(tmp_path)) for word in words]
    options = common.parser(None).parse_args([*words, "--results", str(tmp_path)])
    path = common.save("cli", options, [])
    assert json.loads(path.read_text())["command"] == command


@pytest.fixture
def results(tmp_path):
    """Files as a benchmark writes them, with made numbers: a win, a loss, a cost per pixel."""
    options = common.parser(None).parse_args(["--results", str(tmp_path)])
    times = {common.OURS: [0.5, 0.5], common.TORCH: [5.0, 5.0], common.STRONG: [0.25, 0.25]}
    row = {
        "case": "made case",
        "contenders": {n: {"first_call_s": 1.5, **common.summary(t)} for n, t in times.items()},
        "times_ours_over": {
            n: common.ratios(t, times[common.OURS]) for n, t in times.items() if n != common.OURS
        },
    }
    alone = {
        "case": "large",
        "pixels": 250_000,
        "contenders": {common.OURS: row["contenders"][common.OURS]},
        "times_ours_over": {},
    }
    path = common.save("render", options, [row, alone], ["made by a test"])
    assert json.loads(path.read_text())["machine"]["commit"]
    return report.load(tmp_path)


def test_report_says_wins_losses_and_what_was_not_measured(results):
    text = report.tables(results)
    assert "| made case | d2f_jax | 500 ms | 500 ms to 500 ms | 1.5 s |  |  |" in text
    assert "| torch, as released | 5 s | 5 s to 5 s | 1.5 s | 10× | 10× (10 to 10) |" in text
    assert "**0.5× (slower)**" in text
    assert "large (2 µs per pixel)" in text
    assert "made by a test." in text
    assert "CPU: not measured; `python -m benchmarks.bench_pipeline`" in text
    assert "GPU: not measured; `python -m benchmarks.bench_render`" in text


def test_report_puts_speed_beside_error(tmp_path):
    options = common.parser(None).parse_args(["--results", str(tmp_path)])
    seconds = {common.OURS: 2.0, bench_lens.SCATTER: 9.0, bench_lens.PLANES: 1.0}

    def row(pixels, without=(), **facts):
        there = {name: [value] for name, value in seconds.items() if name not in without}
        ratios = {n: common.ratios(t, [2.0]) for n, t in there.items() if n != common.OURS}
        timed = {n: {"first_call_s": 1.0, **common.summary(t)} for n, t in there.items()}
        row = {"case": "made", "pixels": pixels, "radius": 30, "contenders": timed}
        return row | {"times_ours_over": ratios} | facts

    slow = {bench_lens.SCATTER: "would take about 7 min"}
    rows = [
        row(500_000, left_out={}),
        row(24_000_000, without=slow, left_out=slow),
        row(500_000, gradients=True),
        row(500_000, without=(bench_lens.SCATTER, bench_lens.PLANES), compiled=0),
    ]
    psnr = {common.OURS: 32.48, bench_lens.SCATTER: 28.07, bench_lens.PLANES: 28.37}
    common.save("lens", options, rows, psnr=psnr)
    results = report.load(tmp_path)
    text = report.tables(results)
    assert "| d2f_jax (32.5 dB) | torch, scatter (28.1 dB) | torch, planes (28.4 dB) |" in text
    assert "| 0.5 megapixels | 30 px | 2 s | 9 s, 4.5× | 1 s, **0.5× (slower)** |" in text
    assert "| 24 megapixels | 30 px | 2 s | would take about 7 min | 1 s, **0.5×" in text
    assert "| 0.5 megapixels, with gradients | 30 px | 2 s | 9 s, 4.5× |" in text
    assert "| 0.5 megapixels, focus moved (0 compiled) | 30 px | 2 s |  |  |" in text
    assert [path.name for path in report.plots(results, tmp_path)] == ["lens_cpu.svg"]


def test_report_replaces_only_between_the_markers():
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    new = report.replaced(document, "new")
    assert new == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.replaced(new, "new") == new
    with pytest.raises(ValueError, match="must hold the lines"):
        report.replaced("nothing here", "new")


def test_the_document_holds_the_tables_of_the_committed_results():
    document = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.replaced(document, report.tables(report.load(report.RESULTS))) == document


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.6, "7.6 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (1234, "1234 s")]
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


def test_wrong_files_and_folders_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    file, missing = str(tmp_path / "file"), str(tmp_path / "nowhere")

    def unasked(options):
        raise AssertionError

    for main, given, line in (
        (common.run, ["--official", missing], "no checkout of the authors' repository"),
        (common.run, ["--results", file], "a file, not a folder"),
        (bench_ground_truth.main, ["--sheets", file], "a file, not a folder"),
        (bench_focus.main, [missing, "--output", f"{missing}/x.json"], "x.json: no such folder"),
        (bench_focus.main, [missing, "--weights", missing], "nowhere: no such weights file"),
    ):
        monkeypatch.setattr(sys, "argv", ["bench", *given])
        with pytest.raises(SystemExit) as refused:
            main(unasked, None) if main is common.run else main()
        assert refused.value.code == 2
        said = capsys.readouterr().err
        assert line in said
        assert said.count("\n") == 1


def test_relief_stays_within_its_bounds_and_on_the_subject():
    disparity = np.full((90, 120), 0.2, np.float32)
    disparity[30:60, 40:80] = 0.8
    made, low, high = bench_focus.relieved(disparity, 0.8, np.random.default_rng(0))
    np.testing.assert_allclose(made[:20], 0.2, atol=1e-6)
    inside = made[36:54, 46:74]
    assert 0.8 * (1 - bench_focus.RELIEF) <= inside.min() < inside.max()
    assert inside.max() <= 0.8 * (1 + bench_focus.RELIEF)
    assert low < np.median(inside) < high
    assert bench_focus.central(disparity) == pytest.approx(0.8)


def test_the_published_scenes_are_whole():
    samples = list(bench_ground_truth.read_suite(bench_ground_truth.SUITE))
    assert len(samples) == 24
    licences = (bench_ground_truth.SUITE / "README.md").read_text()
    for sample in samples:
        assert sample.name.split("/")[0] in licences
        assert sample.image.shape == sample.radiance.shape == sample.bokeh.shape == (384, 512, 3)
        assert sample.disparity.min() == 0
        assert sample.disparity.max() == 1
        cut = bench_ground_truth._encoded(sample.radiance)
        assert np.abs(cut - sample.image).mean() < 0.004


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p02_night_lights/0", "p05_slant/1", "p06_cards/2"])
def test_lens_blur_is_as_near_to_light_as_the_table_says(name):
    """Three of the 24 pictures of the committed results."""
    path = bench_ground_truth.SUITE.parent / "results" / "ground_truth_public.json"
    stored = {
        row["sample"]: row["psnr"]
        for row in json.loads(path.read_text())["images"]
        if row["method"] == "8 bit: lens_blur"
    }
    samples = {s.name: s for s in bench_ground_truth.read_suite(bench_ground_truth.SUITE)}
    bokeh = bench_ground_truth.lens_blur(samples[name], hdr=False, highlights=None)
    psnr = bench_ground_truth.scores(bokeh, samples[name])["psnr"]
    assert psnr == pytest.approx(stored[name], abs=0.02)


@pytest.mark.parametrize("option", ["--output", "--phones", "--traced"])
def test_the_gallery_refuses_folders_that_are_not_there(option, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gallery", option, str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as refused:
        gallery.main()
    assert refused.value.code == 2
    assert "nowhere" in capsys.readouterr().err


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x"])

    def main(options):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        common.run(main, "d", words.Parser())
    assert stop.value.code == 130
    assert capsys.readouterr().err == "benchmarks: interrupted\n"
