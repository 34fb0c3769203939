"""Depth networks by name: what they are, and how their files come here.

A network is fetched once, at a fixed revision, into the cache of `huggingface_hub` (extra `depth`),
which also knows the hub's address, a mirror (HF_ENDPOINT) and to stay offline (HF_HUB_OFFLINE).
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from d2f_jax import extras
from d2f_jax.photo.depth import DepthConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedNetwork:
    """A depth network that is published as an ONNX file.

    Attributes:
      repository: Owner and name on the hub.
      file: Path of the file there.
      revision: Commit that it is taken from.
      megabytes: Size of the file.
      licence: Licence of the weights, as people call it.
      commercial: Whether the licence allows commercial use.
      config: What the network takes and returns.
    """

    repository: str
    file: str
    revision: str
    megabytes: int
    licence: str
    commercial: bool
    config: DepthConfig = DepthConfig()  # noqa: RUF009 - immutable

    @property
    def described(self) -> str:
        """Where it is from and what may be done with it, in a few words."""
        use = "" if self.commercial else ", NOT FOR COMMERCIAL USE"
        return f"{self.repository} at {self.revision[:8]}, licence {self.licence}{use}"


NETWORKS: Mapping[str, NamedNetwork] = {
    "depth-anything-v2-small": NamedNetwork(
        repository="onnx-community/depth-anything-v2-small",
        file="onnx/model.onnx",
        revision="c70d1ddbcd93c9bda8098268cc3554adf5e8dd4f",
        megabytes=99,
        licence="Apache-2.0",
        commercial=True,
    ),
    "depth-anything-v2-base": NamedNetwork(
        repository="onnx-community/depth-anything-v2-base",
        file="onnx/model.onnx",
        revision="70fc6025110462412a23f8f647d2cd708d6ecc2e",
        megabytes=389,
        licence="CC-BY-NC-4.0",
        commercial=False,
    ),
    "depth-anything-v2-large": NamedNetwork(
        repository="onnx-community/depth-anything-v2-large",
        file="onnx/model.onnx",
        revision="58f6f567efd3eacfeddec1dcc21cf77f67e4eaa9",
        megabytes=1340,
        licence="CC-BY-NC-4.0",
        commercial=False,
    ),
    "midas-small": NamedNetwork(  # MiDaS v2.1
        repository="julienkay/sentis-MiDaS",
        file="midas_v21_small_256.onnx",
        revision="b867253b86ef4cef1cfda70e8fbcf72fb27eaa3e",
        megabytes=66,
        licence="MIT",
        commercial=True,
        # Normalises its input itself (tools/MiDaS_ONNX_Export.ipynb of julienkay/com.doji.midas).
        config=DepthConfig(size=(256, 256), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    ),
    "depth-pro": NamedNetwork(  # weights of 4 bits: full ones are 3.8 GB
        repository="onnx-community/DepthPro-ONNX",
        file="onnx/model_q4.onnx",
        revision="0fb46fadde862e9b7e4e735eed1e99ea69780920",
        megabytes=746,
        licence="Apple's for research (apple-amlr)",
        commercial=False,
        config=DepthConfig(
            size=(1536, 1536), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), convention="metres"
        ),
    ),
}
"""The networks that have a name."""


def find(text: str, notify: Callable[[str], None]) -> tuple[Path, DepthConfig]:
    """Finds the file of a depth network, and what to assume of it.

    Args:
      text: A name of `NETWORKS`; an ONNX file; or NAME=FILE, the file of that network, got by hand.
      notify: Gets a line on what is used under which licence, before anything is fetched.

    Raises:
      ValueError: if there is no such name or file, or it cannot be fetched.
    """
    if text in NETWORKS:
        return _fetched(text, notify), NETWORKS[text].config
    name, equals, file = text.partition("=")
    if equals and name in NETWORKS:
        return Path(file), NETWORKS[name].config
    if not (Path(text).exists() or Path(text).suffix or Path(text).parent.name):
        known = ", ".join(NETWORKS)
        raise ValueError(
            f"--depth-model {text}: no such file, and no network of that name: {known}"
        )
    return Path(text), DepthConfig()


def absolute(text: str) -> str:
    """What `find` takes, with the file that it names, if any, as every folder finds it."""
    name, equals, file = text.partition("=")
    if equals and name in NETWORKS:
        return f"{name}={Path(file).resolve()}" if Path(file).is_file() else text
    return str(Path(text).resolve()) if text not in NETWORKS and Path(text).is_file() else text


def _fetched(name: str, notify: Callable[[str], None]) -> Path:
    """The file in the cache, where it is put if it is not there."""
    with extras.needed(f"--depth-model {name}"):
        import huggingface_hub as hub
    network = NETWORKS[name]
    place = {"repo_id": network.repository, "filename": network.file, "revision": network.revision}
    cached = hub.try_to_load_from_cache(**place)
    if isinstance(cached, str):
        notify(f"d2f: note: {name}: {network.described}")
        return Path(cached)
    notify(f"d2f: note: {name}: fetching {network.megabytes} MB of {network.described}")
    try:
        with _quiet_log():
            # Asked first, without the download's patience for hubs that do not answer.
            expected = hub.get_hf_file_metadata(hub.hf_hub_url(**place)).etag or ""
            path = hub.hf_hub_download(**place)
        _check(Path(path), expected)
    except Exception as error:  # of the hub, of http, of the disk
        reason = str(error).strip().split("\n")[0].partition(". ")[0] or type(error).__name__
        raise ValueError(
            f"--depth-model {name}: cannot fetch it ({reason}); get {network.file} of "
            f"{network.repository} by hand and name it: --depth-model {name}=FILE"
        ) from error
    return Path(path)


def _check(path: Path, expected: str) -> None:
    """Compares a file with its SHA-256, by which the hub tags large files; a bad one goes away."""
    if not re.fullmatch("[0-9a-f]{64}", expected):
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        for bad in {Path(os.path.realpath(path)), path}:  # the cache links to the file
            bad.unlink(missing_ok=True)
        raise ValueError("what came is damaged: its checksum is wrong")


@contextlib.contextmanager
def _quiet_log():
    """What the hub's library says on its way; what goes wrong is said in one line at the end."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
