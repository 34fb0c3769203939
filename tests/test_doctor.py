import jax
import pytest

import d2f_jax
from d2f_jax import cli, doctor, extras, pipeline


def test_everything_is_told(capsys, monkeypatch, tmp_path):
    (tmp_path / "kept").write_bytes(bytes(3_000_000))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert cli.main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["d2f_jax"] == d2f_jax.__version__
    assert lines["jax"] == jax.__version__
    assert "cpu" in lines["devices"]
    assert lines["weights"].startswith("d2f-lite, 14.0 MB, checksum right")
    assert lines["compiled"] == f"1 files, 3 MB in {tmp_path}"
    assert set(extras.EXTRAS) <= set(lines)


def test_what_is_missing_or_broken_is_said(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such\ndriver")

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(jax, "devices", broken)
    monkeypatch.setattr(pipeline, "load", broken)
    monkeypatch.setitem(extras.EXTRAS, "depth", {"no-such-package": "no_such_package"})
    lines = dict(line.split(maxsplit=1) for line in doctor.report())
    assert lines["devices"] == "none: RuntimeError: no such driver"
    assert lines["weights"] == "cannot be loaded: RuntimeError: no such driver"
    assert lines["compiled"].startswith("not kept")
    assert lines["depth"] == (f"without no-such-package: {extras.hint('depth')}")


@pytest.mark.parametrize("extra", sorted(extras.EXTRAS))
def test_the_parts_are_those_of_the_package(extra):
    """The lists name what `pyproject.toml` asks for."""
    from importlib import metadata

    wanted = [
        r
        for r in metadata.requires("d2f-jax") or []
        if f'extra == "{extra}"' in r.replace("'", '"')
    ]
    for name in extras.EXTRAS[extra]:
        assert any(r.lower().startswith(name.lower()) for r in wanted), name
