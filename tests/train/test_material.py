"""The material out of small packages that the tests make; nothing is fetched."""

import contextlib
import csv
import hashlib
import io
import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import composites
from tests import fakes
from tests.train import package_files
from train import material, packages

DOCS = Path(__file__).parents[2] / "docs"
COLUMNS = ("file", "role", "package", "path", "sha256", "size", "look")


@pytest.fixture(autouse=True)
def dpkg_deb(tmp_path_factory, monkeypatch):
    """Where the real one is lacking, one that knows as much of it as the tests need."""
    if not shutil.which("dpkg-deb"):
        folder = tmp_path_factory.mktemp("bin")
        package_files.stand_in(folder / "dpkg-deb")
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def make_picture(seed, size=(96, 64)):
    colors = np.random.default_rng(seed).uniform(0, 255, (4, 6, 3)).astype(np.uint8)
    return Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def encoded(picture, kind="WEBP"):
    stream = io.BytesIO()
    picture.save(stream, kind, quality=95)
    return stream.getvalue()


class Project:
    """A table of seven photographs, their packages and mattes."""

    def __init__(self, folder):
        self.docs, self.debs, self.out = (folder / name for name in ("docs", "debs", "out"))
        (self.docs / "mattes").mkdir(parents=True)
        self.debs.mkdir()
        self.table = self.docs / "table.tsv"
        self.nature, self.games, self.rows = {}, {}, []
        for number in range(5):
            name = f"wild_{number}.jpg"
            role = "scene" if number == 4 else "subject"
            data = encoded(make_picture(number))
            if number == 3:
                data = imagecodecs.jpegxl_encode(np.asarray(make_picture(number)), lossless=True)
            self.nature[f"./usr/share/wild/{number}.pic"] = data
            self.add(name, role, "wild 1.0-2 (sid)", f"usr/share/wild/{number}.pic", data)
            if role == "subject":
                matte = Image.linear_gradient("L").resize((96, 64))
                matte.save(self.docs / f"mattes/wild_{number}.png")
        data = encoded(make_picture(5, (2048, 512)), "JPEG")
        self.games["a"] = {"b": {"wide.jpg": data, "other.jpg": b"?"}, "c": b"!"}
        self.add("games_wide.jpg", "other", "games 3", "usr/share/games/x.rcc:a/b/wide.jpg", data)
        astronaut = Path(__import__("skimage").__file__).parent / "data/astronaut.png"
        data = astronaut.read_bytes()
        self.add("a.png", "person", "scikit-image 0", "skimage/data/astronaut.png", data)
        self.write_table()
        self.write_debs()

    def add(self, name, role, package, path, data):
        picture = material.developed(data, name)
        greys = material.look(picture).astype(np.uint8).tobytes().hex()
        digest = hashlib.sha256(data).hexdigest()
        size = f"{picture.width}x{picture.height}"
        self.rows.append((name, role, package, path, digest, size, greys))

    def write_table(self):
        lines = ["\t".join(row) for row in (COLUMNS, *self.rows)]
        self.table.write_text("\n".join(lines) + "\n")

    def write_debs(self):
        package_files.make_deb(self.debs / "wild_1.0-2_all.deb", self.nature)
        package_files.make_deb(
            self.debs / "games_3_all.deb",
            {"./usr/share/games/x.rcc": package_files.make_rcc(self.games)},
        )

    def arguments(self, **options):
        return material.Arguments(
            **{
                "folder": self.out,
                "packages": self.debs,
                "root": self.docs,
                "table": self.table,
                **options,
            }
        )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_material_is_assembled_once_and_found_again(project):
    report = material.assemble(project.arguments())
    assert report.faults == report.others == []
    assert (report.written, report.kept, report.mattes) == (7, 0, 4)
    with Image.open(project.out / "others/games_wide.jpg") as picture:
        assert picture.size == (1024, 256)
    found = composites.find_material(project.out, held_out=False)
    assert [subject.photo.name for subject in found.subjects] == [
        f"wild_{n}.jpg" for n in (1, 2, 3)
    ]
    matte = project.docs / "mattes/wild_3.png"
    np.testing.assert_array_equal(opened(found.subjects[-1].matte), opened(matte))

    before = {path: path.stat().st_mtime_ns for path in project.out.rglob("*.*")}
    (project.out / "scenes/wild_4.jpg").unlink()
    (project.out / "mattes/wild_1.png").unlink()
    report = material.assemble(project.arguments())
    assert (report.written, report.kept, report.mattes, report.faults) == (1, 6, 4, [])
    again = {path: path.stat().st_mtime_ns for path in project.out.rglob("*.*")}
    changed = {path.name for path in again if again[path] != before[path]}
    assert again.keys() == before.keys()
    assert changed == {"wild_4.jpg", "wild_1.png"}


def test_installed_packages_are_found_below_a_root(project, tmp_path):
    for name, data in {
        **project.nature,
        "usr/share/games/x.rcc": package_files.make_rcc(project.games),
    }.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(data)
    report = material.assemble(project.arguments(packages=None, root=tmp_path / "root"))
    assert (report.written, report.mattes, report.faults) == (7, 4, [])


def test_other_files_are_named_and_other_pictures_refused(project):
    project.nature["./usr/share/wild/0.pic"] = encoded(make_picture(0), "PNG")
    project.nature["./usr/share/wild/1.pic"] = encoded(make_picture(77))
    project.nature["./usr/share/wild/2.pic"] = encoded(make_picture(2, (90, 64)))
    project.nature["./usr/share/wild/3.pic"] = b"\xff\x0a no JPEG XL"
    project.nature["./usr/share/wild/4.pic"] = encoded(make_picture(4))[:200]
    project.write_debs()
    report = material.assemble(project.arguments())
    assert report.others == ["wild_0.jpg"]
    assert (report.written, report.mattes) == (3, 1)
    another, size, torn_jxl, torn_webp = report.faults
    assert "wild_1.jpg: wild has another picture" in another
    assert another.endswith("take version 1.0-2")
    assert "90x64 pixels instead of 96x64" in size
    assert "wild, usr/share/wild/3.pic" in torn_jxl
    assert "wild, usr/share/wild/4.pic" in torn_webp
    assert not (project.out / "subjects/wild_1.jpg").exists()


def test_missing_packages_are_named_and_completed_later(project, monkeypatch, capsys):
    def run(*words):
        places = ["--packages", str(project.debs), "--from", str(project.docs)]
        table = ["--table", str(project.table)]
        monkeypatch.setattr(sys, "argv", ["material", str(project.out), *places, *table, *words])
        try:
            material.main()
        except SystemExit as end:
            return end.code, capsys.readouterr()
        return 0, capsys.readouterr()

    games = (project.debs / "games_3_all.deb").rename(project.docs / "kept")
    code, said = run()
    assert code == 2
    assert said.err.startswith(
        f"error: 1 fault in {project.out}:\n  games 3: 1 photograph not found"
    )
    assert "apt-cache policy games" in said.err
    code, said = run("--partial")
    assert code == 0
    assert "games 3: 1 photograph not found (games_wide.jpg)" in said.out
    assert "every fifth name" in said.out
    games.rename(project.debs / "games_3_all.deb")
    (project.out / "scenes/mine.jpg").write_bytes(b"mine")
    code, said = run()
    assert code == 0
    assert "1 photograph written, 6 there already, 4 mattes" in said.out
    assert f"held out with them: {project.out / 'scenes/mine.jpg'}" in said.out

    for words in (["--packages", "none"], ["--from", "none"], ["--table", "none"]):
        code, said = run(*words)
        assert (code, said.err.count("\n")) == (2, 1)
        assert "none" in said.err
    code, said = run("--mattes", "nowhere")
    assert (code, said.err) == (2, "error: --mattes nowhere: no such folder\n")
    code, said = run("--mattes", "a", "--matte-model", "b")
    assert (code, said.err) == (2, "error: --mattes and --matte-model: give one of them\n")


def test_nothing_that_lies_there_is_lost(project):
    place = project.out / "subjects/wild_0.jpg"
    place.parent.mkdir(parents=True)
    make_picture(50).save(place)
    (project.out / "subjects/wild_1.jpg").write_bytes(b"no picture")
    before = place.read_bytes()
    network = project.docs / "network.onnx"
    fakes.save_bright_is_near(network)
    report = material.assemble(project.arguments(matte_model=network))
    assert place.read_bytes() == before
    assert (report.written, report.kept, report.mattes, len(report.faults)) == (5, 0, 2, 2)
    assert all(fault.endswith("move it away") for fault in report.faults)
    assert (project.out / "subjects/wild_1.jpg").read_bytes() == b"no picture"


def test_hostile_packages_reach_nothing(project, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(project.nature["./usr/share/wild/0.pic"])
    names = {"../../evil": b"x", "/" + str(tmp_path / "evil"): b"x"}
    links = [("./usr/share/wild/0.pic", secret), ("./usr/share", tmp_path)]
    deb = package_files.make_deb(project.debs / "wild_1.0-2_all.deb", names, links)
    before = sorted(tmp_path.rglob("*"))
    assert packages.read_deb(deb, {"usr/share/wild/0.pic", "../../evil"}) == {"../../evil": b"x"}
    assert sorted(tmp_path.rglob("*")) == before
    for torn in (deb.read_bytes()[:-2000], b"", b"!<arch>\nand nothing"):
        deb.write_bytes(torn)
        with pytest.raises(ValueError, match=r"wild_1.0-2_all.deb: not a whole package"):
            packages.read_deb(deb, {"a"})
    report = material.assemble(project.arguments())
    assert len([fault for fault in report.faults if "not a whole package" in fault]) == 1


def test_the_version_of_the_table_is_taken_before_others(project):
    package_files.make_deb(project.debs / "wild_2.0_all.deb", {})
    package_files.make_deb(project.debs / "wild-extra_9_all.deb", {})
    package = packages.Package("wild", "1.0-2")
    assert packages.find_deb(project.debs, package).name == "wild_1.0-2_all.deb"
    package = packages.Package("wild", "1.5")
    assert packages.find_deb(project.debs, package).name == "wild_2.0_all.deb"
    assert packages.find_deb(project.debs, packages.Package("tame", "1")) is None


def test_apt_downloads_what_is_lacking_and_it_is_kept(project, tmp_path, monkeypatch):
    shelf = project.debs.rename(tmp_path / "shelf")
    fake = tmp_path / "bin/apt-get"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\n[ "$3" = wild=1.0-2 ] && cp {shelf}/wild_* . && exit\n'
        'echo "E: Unable to locate package $3" >&2; exit 100\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    report = material.assemble(project.arguments(download=True))
    assert [path.name for path in project.debs.iterdir()] == ["wild_1.0-2_all.deb"]
    assert (report.written, report.mattes) == (6, 4)
    assert report.faults[0].startswith("games 3: 1 photograph not found (games_wide.jpg): apt-get")
    assert "E: Unable to locate package games)" in report.faults[0]


def test_without_the_systems_tools_a_line_says_so(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    report = material.assemble(project.arguments())
    assert all("needs dpkg-deb" in fault for fault in report.faults)
    report = material.assemble(project.arguments(packages=None, download=True))
    assert any("--download needs apt-get" in fault for fault in report.faults)


def test_mattes_from_a_folder_or_a_network(project, tmp_path):
    mattes = tmp_path / "small"
    mattes.mkdir()
    for number, size in enumerate([(48, 32), (48, 32), (48, 48)]):
        Image.linear_gradient("L").resize(size).save(mattes / f"wild_{number}.png")
    report = material.assemble(project.arguments(mattes=mattes))
    assert report.mattes == 2
    assert opened(project.out / "mattes/wild_0.png").shape == (64, 96)
    shape, lacking = report.faults
    assert "48x48, not of its subject's shape" in shape
    assert "wild_3.png: no such file" in lacking

    model = tmp_path / "network.onnx"
    fakes.save_bright_is_near(model)
    report = material.assemble(project.arguments(matte_model=model))
    assert (report.mattes, report.faults) == (4, [])
    grey = opened(project.out / "subjects/wild_3.jpg").mean(-1)
    matte = opened(project.out / "mattes/wild_3.png").astype(float)
    assert matte.shape == (64, 96)
    assert matte.min() == 0
    assert matte.max() == 255
    assert np.corrcoef(grey.ravel(), matte.ravel())[0, 1] > 0.98
    with pytest.raises(ValueError, match=r"none\.onnx: no such file"):
        material.assemble(project.arguments(matte_model=tmp_path / "none.onnx"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_qt_resources_are_read(version):
    def pack(data):
        return 1, struct.pack(">I", len(data)) + zlib.compress(data)

    tree = {"usr": {"å": {"x.webp": b"content", "y": b"other"}, "z": b"last"}}
    for made in (
        package_files.make_rcc(tree, version=version),
        package_files.make_rcc(tree, version=version, pack=pack),
    ):
        assert packages.resource(made, "usr/å/x.webp") == b"content"
        assert packages.resource(made, "usr/z") == b"last"
        assert packages.resource(made, "usr/å/none") is None
        assert packages.resource(made, "usr/z/none") is None
        with pytest.raises(ValueError, match="folder"):
            packages.resource(made, "usr/å")
        for length in range(len(made)):
            with contextlib.suppress(ValueError):
                assert packages.resource(made[:length], "usr/z") in (b"last", None)
    with pytest.raises(ValueError, match="zstd"):
        packages.resource(package_files.make_rcc({"a": b"1"}, pack=lambda data: (4, data)), "a")
    with pytest.raises(ValueError, match="known format"):
        packages.resource(b"PK\3\4" + bytes(40), "a")


@pytest.mark.parametrize(
    ("column", "value"),
    [("role", "hero"), ("size", "96"), ("look", "00"), ("package", "wild"), ("file", "../a.jpg")],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(project, column, value):
    row = list(project.rows[1])
    row[COLUMNS.index(column)] = value
    project.rows[1] = tuple(row)
    project.write_table()
    with pytest.raises(ValueError, match=r"table\.tsv, line 3: cannot be read"):
        material.read_table(project.table)


def test_the_table_of_the_project_holds_out_every_fifth_and_has_its_mattes():
    table = DOCS / "weights_photos.tsv"
    rows = material.read_table(table)
    with table.open(newline="") as lines:
        use = {
            (row["file"], row["role"]): row["use"] for row in csv.DictReader(lines, delimiter="\t")
        }
    for role in ("subject", "scene", "other"):
        names = sorted(row.file for row in rows if row.role == role)
        for number, name in enumerate(names):
            assert (use[name, role] == "held out") == (number % 5 == 0), name
    subjects = {Path(row.file).stem: row.size for row in rows if row.role == "subject"}
    mattes = {path.stem: path for path in (DOCS / "mattes").glob("*.png")}
    assert subjects.keys() == mattes.keys()
    for name, path in mattes.items():
        with Image.open(path) as matte:
            assert (matte.size, matte.mode) == (subjects[name], "L")
    looks = np.stack([row.look for row in rows if row.role != "person"])
    apart = np.abs(looks[:, None] - looks).mean(-1) + 255 * np.eye(len(looks))
    assert apart.min() > 4 * material.TOLERANCE
