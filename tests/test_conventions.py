"""Walks the public API and holds it to the conventions of d2f_jax/types.py."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import d2f_jax

ROOT = Path(__file__).parents[1]
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(d2f_jax.__path__, "d2f_jax.")
    if not name.endswith("__main__")
]
SOURCES = [
    p for folder in ("d2f_jax", "train", "benchmarks") for p in (ROOT / folder).rglob("*.py")
]


def public_functions():
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module_name
            if own and inspect.isfunction(value) and not name.startswith("_"):
                yield pytest.param(value, id=f"{module_name}.{name}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_public_functions_are_documented_and_typed(function):
    assert function.__doc__, "no docstring"
    signature = inspect.signature(function)
    untyped = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty
    ]
    assert not untyped, f"untyped: {untyped}"
    assert signature.return_annotation is not signature.empty, "untyped result"


@pytest.mark.parametrize("function", list(public_functions()))
def test_docstrings_name_every_argument_where_they_list_any(function):
    doc = inspect.getdoc(function) or ""
    if "Args:" not in doc:
        return
    arguments = doc.split("Args:")[1]
    missing = [
        name for name in inspect.signature(function).parameters if f"{name}:" not in arguments
    ]
    assert not missing, f"arguments without a line: {missing}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_open_with_a_docstring(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "no docstring at the top"


def test_importing_the_package_imports_nothing_heavy():
    source = (ROOT / "d2f_jax/__init__.py").read_text()
    imports = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not imports
