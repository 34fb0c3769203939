"""Starts the server of the page."""

import functools
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from d2f_jax.app import examples, server
from d2f_jax.photo import depth_models, map_sources
from d2f_jax.photo.settings import MapSettings

LOCAL = ("localhost", "127.0.0.1", "[::1]")


def run(
    folder: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    depth_model: str | None = None,
    max_upload: float = 100.0,
    max_megapixels: float = 60.0,
    warm_up: bool = True,
) -> int:
    """Serves the page until it is interrupted.

    Args:
      folder: Photographs to offer; None: an example.
      host: Address to listen on.
      port: Port to listen on; 0 takes a free one.
      depth_model: Depth network to offer, by name or file.
      max_upload: Largest file [MB].
      max_megapixels: Largest photograph.
      warm_up: Whether to compile at the start what previews need.

    Returns:
      0.

    Raises:
      ValueError: if there is no such folder or depth network, or nothing can listen there.
    """
    if not max_upload > 0 or not max_megapixels > 0:
        raise ValueError("--max-upload and --max-megapixels are above 0")
    if depth_model is not None:
        # Full size is made in the visitor's folder.
        depth_model = depth_models.absolute(depth_model)
        # What is wrong with it is said now, not to the first visitor.
        say = functools.partial(print, file=sys.stderr)
        map_sources.find(MapSettings(depth_model=depth_model), say)
    everywhere = host in ("0.0.0.0", "::")
    rules = server.Rules(
        photographs=examples.listed(folder),
        depth_model=depth_model,
        max_upload=round(max_upload * 1e6),
        max_pixels=round(max_megapixels * 1e6),
        warm_up=warm_up,
        hosts=() if everywhere else (*LOCAL, f"[{host}]" if ":" in host else host),
    )
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    place = "localhost" if everywhere or host == "127.0.0.1" else host
    print(f"http://{f'[{place}]' if ':' in place else place}:{port}", flush=True)
    if host not in ("127.0.0.1", "::1", "localhost"):
        print("d2f: note: everyone who reaches this address can use the page", flush=True)
    logging.getLogger("uvicorn.error").addFilter(is_worth_saying)
    config = uvicorn.Config(
        server.build(rules),
        loop="asyncio",  # uvloop, taken where it is installed, forks a process full of threads
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def is_worth_saying(record: logging.LogRecord) -> bool:
    """False for the traceback that Ctrl-C during the server's start would leave."""
    return "CancelledError" not in record.getMessage()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot listen on {host}, port {port}: {reason}; try --port 0") from None
