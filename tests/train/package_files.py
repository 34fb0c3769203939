"""Small packages that tests make: Qt resource files and .deb archives."""

import io
import struct
import sys
import tarfile


def make_rcc(tree, *, version=3, pack=lambda data: (0, data)):
    """A Qt resource file out of nested dicts of bytes, in the order of its breadth."""
    nodes, names, contents, waiting = [], b"", b"", [("", tree)]
    placed = 1
    for name, value in waiting:
        node = struct.pack(">I", len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(value, dict):
            node += struct.pack(">HII", 2, len(value), placed)
            waiting += value.items()
            placed += len(value)
        else:
            flags, data = pack(value)
            node += struct.pack(">HHHI", flags, 0, 1, len(contents))
            contents += struct.pack(">I", len(data)) + data
        nodes.append(node + (version > 1) * bytes(8))
    header = 20 + 4 * (version == 3)
    size = len(nodes) * len(nodes[0])
    places = header, header + size + len(names), header + size
    start = struct.pack(">4s4I", b"qres", version, *places) + bytes(header - 20)
    return start + b"".join(nodes) + names + contents


def make_deb(path, contents, links=()):
    """A Debian package as `ar` archive, whose names nobody has looked at."""

    def tar(entries, links=()):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, target in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, str(target)
                archive.addfile(info)
            for name, data in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    parts = {
        "debian-binary": b"2.0\n",
        "control.tar": tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"}),
        "data.tar": tar(contents, links),
    }
    archive = b"!<arch>\n"
    for name, data in parts.items():
        archive += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    path.write_bytes(archive)
    return path


STAND_IN = """#!{python}
import sys
data = open(sys.argv[2], "rb").read()
at = 8
while data[:8] == b"!<arch>\\n" and at < len(data):
    size = int(data[at + 48 : at + 58])
    if data[at : at + 8] == b"data.tar":
        sys.stdout.buffer.write(data[at + 60 : at + 60 + size])
        sys.exit(len(data) < at + 60 + size)
    at += 60 + size + size % 2
sys.exit(2)
"""


def stand_in(path):
    """Writes a `dpkg-deb --fsys-tarfile` for archives of `make_deb`."""
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path
