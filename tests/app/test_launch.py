"""How the server starts and ends."""

import logging

import pytest

from d2f_jax import cli
from d2f_jax.app import launch
from tests.fakes import save_bright_is_near


def test_its_own_end_is_no_line():
    def record(message):
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, (), None)

    cancelled = "Traceback ...\nasyncio.exceptions.CancelledError"
    assert not launch.is_worth_saying(record(cancelled))
    assert launch.is_worth_saying(record("Traceback ...\nOSError: no space left"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("none.onnx", "none.onnx: no such file"),
        ("launch", "--depth-model launch: no such file, and no network of that name"),
        ("depth.onnx", "it listens"),
    ],
)
def test_what_is_wrong_with_a_depth_network_is_said_before_it_listens(
    tmp_path, monkeypatch, capsys, model, message
):
    def listen(host, port):
        raise ValueError("it listens")

    monkeypatch.chdir(tmp_path)
    save_bright_is_near("depth.onnx")
    monkeypatch.setattr(launch, "_listen", listen)
    assert cli.main(["app", "--depth-model", model]) == 2
    assert capsys.readouterr().err.startswith(f"d2f: {message}")
