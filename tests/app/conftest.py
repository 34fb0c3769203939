"""A session, and the server in a process of its own, as visitors meet it."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def session(tmp_path):
    from d2f_jax.app import session as sessions

    (tmp_path / "sessions").mkdir()
    made = sessions.Session(tmp_path / "sessions")
    yield made
    made.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Where `d2f app` listens; what it says on stderr stays empty."""
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "d2f_jax", "app", "--port", "0", "--no-warm-up"]
    with open(folder / "said", "w+") as said:
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=os.environ | {"TMPDIR": str(folder), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        )
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait(30)
            server.stdout.close()
        said.seek(0)
        assert said.read() == ""
    assert [path.name for path in folder.iterdir()] == ["said"]  # nothing is left of any visitor
