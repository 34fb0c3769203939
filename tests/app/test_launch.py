"""How the server starts and ends."""

import logging

from d2f_jax.app import launch


def test_its_own_end_is_no_line():
    def record(message):
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, (), None)

    cancelled = "Traceback ...\nasyncio.exceptions.CancelledError"
    assert not launch.is_worth_saying(record(cancelled))
    assert launch.is_worth_saying(record("Traceback ...\nOSError: no space left"))
