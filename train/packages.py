"""Files out of installed or downloaded packages: Debian's, Qt's resource files in them, Python's.

Nothing of a downloaded package is unpacked to the disk: `dpkg-deb` streams its files, and those
that are asked for are kept in memory. So no name in it can lead anywhere.
"""

import importlib.util
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from d2f_jax import files

LARGEST = 64 << 20
"""Bytes that a file in a package may have; the largest that we take has 4 MB."""


@dataclass(frozen=True)
class Package:
    """A Debian package, or a Python one, and the version that the table was made from."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where packages are looked for, in this order.

    Attributes:
      debs: Folder of .deb files.
      root: Root of a system in which packages are installed.
      download: Whether `apt-get download` fetches what neither has, from the reader's own sources.
        It is kept in `debs`, where that is given.
    """

    debs: Path | None = None
    root: Path = Path("/")
    download: bool = False

    def read(self, package: Package, paths: Collection[str]) -> dict[str, bytes]:
        """The files of a package that were found, by path.

        Args:
          package: Which one.
          paths: As in the package, without a leading slash; Python's begin with the module. Behind
            a colon follows the path in a Qt resource file.

        Raises:
          ValueError: if an archive is torn, or a download fails.
        """
        outer = {path.partition(":")[0] for path in paths}
        if not all(path.startswith("usr/") for path in outer):
            found = {path: data for path in outer if (data := _of_python(path))}
        else:
            found = self._of_debian(package, outer)
        each = {}
        for path in paths:
            archive, _, inner = path.partition(":")
            data = found.get(archive)
            if data and inner:
                with files.naming(f"{package.name}, {archive}"):
                    data = resource(data, inner)
            if data:
                each[path] = data
        return each

    def _of_debian(self, package: Package, paths: set[str]) -> dict[str, bytes]:
        found = {}
        deb = None if self.debs is None else find_deb(self.debs, package)
        if deb is not None:
            found = read_deb(deb, paths)
        for path in paths - found.keys():
            if data := _small_file(self.root / path):
                found[path] = data
        if self.download and paths - found.keys() and deb is None:
            with tempfile.TemporaryDirectory() as temporary:
                deb = download(package, Path(temporary))
                found |= read_deb(deb, paths)
                if self.debs is not None:
                    with files.replacing(self.debs / deb.name) as kept:
                        shutil.copyfile(deb, kept)
        return found


def find_deb(folder: Path, package: Package) -> Path | None:
    """The .deb of a package in a folder: of its version, else the last by name."""
    debs = sorted(folder.glob(f"{package.name}_*.deb"))
    same = [path for path in debs if path.name.startswith(f"{package.name}_{package.version}_")]
    return next(reversed(same or debs), None)


def read_deb(deb: Path, paths: Collection[str]) -> dict[str, bytes]:
    """Regular files of a .deb, by path.

    Raises:
      ValueError: if `dpkg-deb` is missing or cannot read it.
    """
    found = {}
    command = ["dpkg-deb", "--fsys-tarfile", str(deb.resolve())]
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints)
        except FileNotFoundError:
            raise ValueError(
                f"{deb}: reading it needs dpkg-deb, which is part of Debian and its relatives; "
                "elsewhere unpack it and give the folder with --from"
            ) from None
        with process:
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                    for member in archive:
                        path = member.name.removeprefix("./")
                        content = archive.extractfile(member) if member.isreg() else None
                        if content and path in paths and member.size <= LARGEST:
                            found[path] = content.read()
                while process.stdout and process.stdout.read(1 << 20):
                    pass  # closed early, dpkg-deb would fail
            except (tarfile.TarError, OSError, EOFError, ValueError) as error:
                process.kill()
                raise ValueError(f"{deb}: not a whole package; download it again") from error
        if process.returncode:
            raise ValueError(f"{deb}: not a whole package; download it again")
    return found


def download(package: Package, folder: Path) -> Path:
    """Lets apt-get download a package into a folder: its version, or the one that can be had.

    Raises:
      ValueError: if that fails.
    """
    for name in (f"{package.name}={package.version}", package.name):
        command = ["apt-get", "--quiet", "download", name]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            raise ValueError("--download needs apt-get, which is part of Debian") from None
        deb = find_deb(folder, package)
        if done.returncode == 0 and deb is not None:
            return deb
    said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    reason = said[-1] if said else "it gave no reason"
    raise ValueError(
        f"apt-get cannot download it ({reason}); add a source that has it, or bring its .deb"
    )


def resource(data: bytes, path: str) -> bytes | None:
    """A file in one of Qt's binary resource files (.rcc, formats 1 to 3).

    Args:
      data: The resource file: a header, and places of a tree of nodes, of names, and of contents.
      path: Where in its tree, without a leading slash.

    Returns:
      Its bytes, or None if there is no such file.

    Raises:
      ValueError: if the file is torn, of another kind, or compressed with anything but zlib.
    """
    try:
        magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
        if magic != b"qres" or version not in (1, 2, 3):
            raise ValueError("not a Qt resource file of a known format")
        size = 14 if version == 1 else 22  # later ones also have a time
        flags, at = 2, tree
        for part in path.split("/"):
            nodes = _children(data, at, size, tree) if flags & 2 else ()
            at = next((node for node in nodes if _name(data, names, node) == part), -1)
            if at < 0:
                return None
            (flags,) = struct.unpack_from(">H", data, at + 4)
        start = contents + struct.unpack_from(">I", data, at + 10)[0]
        (length,) = struct.unpack_from(">I", data, start)
        content = data[start + 4 : start + 4 + length]
        if flags & 2 or len(content) < length:
            raise ValueError(f"{path} is a folder or not whole")
        if flags & 4:
            raise ValueError(f"{path} is compressed with zstd, which is not read here")
        return zlib.decompressobj().decompress(content[4:], LARGEST) if flags & 1 else content
    except (struct.error, zlib.error, UnicodeDecodeError) as error:
        raise ValueError("a torn Qt resource file") from error


def _children(data: bytes, at: int, size: int, tree: int) -> Iterator[int]:
    count, first = struct.unpack_from(">2I", data, at + 6)
    for place in range(first, first + count):
        yield tree + place * size


def _name(data: bytes, names: int, node: int) -> str:
    at = names + struct.unpack_from(">I", data, node)[0]
    (length,) = struct.unpack_from(">H", data, at)
    return data[at + 6 : at + 6 + 2 * length].decode("utf-16-be")  # behind a hash of four bytes


def _of_python(path: str) -> bytes | None:
    module = importlib.util.find_spec(path.partition("/")[0])
    if module is None or module.origin is None:
        return None
    return _small_file(Path(module.origin).parents[1] / path)


def _small_file(path: Path) -> bytes | None:
    if not os.path.isfile(path) or not 0 < path.stat().st_size <= LARGEST:
        return None
    return files.read_bytes(path)
