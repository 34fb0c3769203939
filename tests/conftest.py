"""Settings for all tests, and the reference values of the released code."""

import json
import os
import zlib
from pathlib import Path

import jax
import jax.experimental
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# XLA's older emitters take less than half of the time to compile. The flag is read when the first
# array is made, also by what tests start; later releases stop at one that they do not know. With
# `XLA_FLAGS=''` tests marked `optimised` see what users run, as `.ci/run` has it.
if jax.__version_info__ < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

# Under its old name before jax 0.8.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the browser is; without it the tests that need one are no part of the run."""
    parser.addoption("--chromium", metavar="FILE", help="browser for tests/app/test_page.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out what needs a browser where none is named."""
    if collection_path.name == "test_page.py" and not config.getoption("--chromium"):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no worker is left alone with one at the end."""
    longest = ["test_lens.py", "test_docs.py", "test_loop.py", "test_pipeline.py"]
    items.sort(key=lambda item: item.path.name not in longest)


def quick_key(seed: int) -> jax.Array:
    """A key of the generator that compiles fastest, for networks whose values do not matter."""
    return jax.random.key(seed, impl="rbg")


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Reads one file of reference values."""
    with np.load(GOLDEN / name) as file:
        return {key: file[key] for key in file.files}


def made_weight(key: str, shape: tuple[int, ...], salt: int = 1) -> np.ndarray:
    """The weights that the reference values were made with, rebuilt from the torch key alone."""
    n = np.random.default_rng(zlib.crc32(key.encode()) + salt).standard_normal(shape)
    leaf = key.rsplit(".", 1)[-1]
    if key == "midas.scratch.output_conv.4.weight":
        w = 0.004 * n
    elif key == "midas.scratch.output_conv.4.bias":
        w = np.full(shape, 0.45)
    elif leaf == "num_batches_tracked":
        w = np.zeros(shape)
    elif leaf == "running_var":
        w = 1 + 0.25 * np.abs(n)
    elif leaf == "running_mean" or leaf == "bias":
        w = 0.1 * n
    elif len(shape) == 4:
        w = n * np.sqrt(1.6 / (shape[1] * shape[2] * shape[3]))
    else:
        w = 1 + 0.1 * n
    return np.asarray(w, np.float32)


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory):
    """Compiled code is kept for this run alone: all workers share it, and what they start."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    os.environ["XDG_CACHE_HOME"] = str(root / "home")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(root / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True)
def _compilation(request):
    """Compiles quickly, but for tests marked `optimised`: those see what users run."""
    quick = request.node.get_closest_marker("optimised") is None
    if quick != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()  # the setting is not part of what compiled functions are found by
        jax.config.update("jax_disable_most_optimizations", quick)


@pytest.fixture(scope="module", autouse=True)
def _small_workers():
    """Modules hardly share compiled functions, which take gigabytes in the end."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def released_state_dicts() -> dict[str, dict[str, np.ndarray]]:
    """State dicts with the keys and shapes of the released checkpoints, and made weights."""
    shapes = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
    return {
        stage: {key: made_weight(key, tuple(shape)) for key, shape in entries.items()}
        for stage, entries in shapes.items()
    }


@pytest.fixture(scope="session")
def released_d2f(released_state_dicts):
    """The pipeline with those weights."""
    from d2f_jax import pipeline
    from d2f_jax.models import architectures, convert

    first = convert.convert(released_state_dicts["stage1"], convert.stage1_rows())
    second = convert.convert(released_state_dicts["stage2"], convert.STAGE2_ROWS)
    tree = convert.split_networks(first) | convert.split_networks(second)
    return pipeline.D2F(architectures.D2FConfig(), architectures.D2FParams(**tree), {})


# The library is imported inside of fixtures: type checking sets in after this file is loaded.


@pytest.fixture
def lens(monkeypatch, d2f):
    """`render.lens_blur` replaced by a stand-in that remembers its calls, and `d2f`."""
    from d2f_jax import render
    from tests import fakes

    fake = fakes.FakeLens()
    monkeypatch.setattr(render, "lens_blur", fake)
    return fake


@pytest.fixture
def d2f(monkeypatch):
    """`pipeline.load` replaced, so that it gives a stand-in for the networks."""
    from d2f_jax import pipeline
    from tests import fakes

    fake = fakes.FakeD2F()
    monkeypatch.setattr(pipeline, "load", lambda path=None: fake)
    return fake


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photograph and its map, and nothing else; the current one."""
    from tests import fakes

    monkeypatch.chdir(tmp_path)
    fakes.save_picture("a.png")
    np.save("a.npy", fakes.make_disparity())
    return tmp_path
