"""Mistakes in the words of the training commands are one line that names the option."""

import signal
import sys

import pytest

from train import ablate, commands, evaluate, export, maps, plot, stage1, stage2

SMOKE = ("smoke", "--workdir", "w")
MAPS = ("material", "--layouts", "t.tsv", "--start", "s", "--workdir", "w")


@pytest.mark.parametrize(
    ("main", "words", "line"),
    [
        (stage1.main, ["smoke", "--workdir", "w", "--steps", "ten"], "--steps ten: give a whole"),
        (stage1.main, ["smoke", "--workdir", "w", "--steps", "0"], "--steps 0: give 1 or more"),
        (stage1.main, ["smoke", "--workdir", "w", "--save-every", "0"], "--save-every 0: give 1"),
        (stage1.main, [*SMOKE, "--optimizer.accumulate", "7"], "accumulate 7: give 1 or more that"),
        (stage1.main, [*SMOKE, "--optimizer.accumulate", "0"], "accumulate 0: give 1 or more that"),
        (stage1.main, ["smoke", "--workdir", "w", "--vgg", "v.pth"], "--vgg v.pth: the percep"),
        (stage1.main, ["smoke", "--workdir", "w", "--backbone", "b.pth"], "--backbone b.pth: no s"),
        (stage1.main, ["smoke", "--workdir", "w", "--stpes", "3"], "did you mean --steps?"),
        (stage1.main, ["smoke"], "Missing from python -m train.x: --workdir PATH"),
        (stage1.main, ["smok"], "no preset 'smok'"),
        (stage2.main, ["smoke", "--workdir", "w"], "Missing from python -m train.x: --stage1 PATH"),
        (ablate.main, ["tabel4", "--workdir", "w"], "tabel4: give one of table4, table5, table6"),
        (ablate.main, ["tabel4", "--workdir", "w"], "; did you mean table4?; see python -m"),
        (maps.main, MAPS, "s: no such weights file, nor folder of a run"),
        (maps.main, [*MAPS, "--steps", "0"], "--steps 0: give 1 or more"),
        (maps.main, [*MAPS, "--batch-size", "0"], "--batch-size 0: give 1 or more"),
        (maps.main, [*MAPS, "--batch-size", "999"], "--batch-size 999: give 256 or less"),
        (maps.main, [*MAPS, "--shards", "0"], "--shards 0: give 1 or more"),
        (export.main, [], "Missing from python -m train.x"),
        (plot.main, ["none"], "none: no such folder"),
        (evaluate.main, ["w", "--split", "val294"], "--split val294: a part of what? Name its"),
        (evaluate.main, ["w"], "w: no such weights file, nor folder of a run"),
        (evaluate.main, ["--split", "foo"], "--split foo: give one of auto, all, train"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, main, words, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train/x.py", *words])
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert line in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_printed_and_no_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train/plot.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        commands.parse(plot.Arguments)
    assert stop.value.code == 0
    assert "usage: python -m train.plot" in capsys.readouterr().out


@pytest.fixture
def interruptible():
    """As in a terminal, also where these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_lost_interrupt_ends_the_run_all_the_same(capsys, interruptible):
    """Python drops what is raised in finalizers and in callbacks of other libraries."""

    def run():
        with commands.user_errors("stopped"):
            commands.stop_if_asked()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            commands.stop_if_asked()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGINT) is before
    commands.stop_if_asked()  # the next run is not asked


def test_where_interrupts_are_ignored_they_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with commands.user_errors():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
