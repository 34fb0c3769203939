"""Pages of the site that no Markdown file in `docs/` holds: from elsewhere, notebooks, reference.

A hook of MkDocs (`mkdocs.yml`). Markdown files of the project become pages; links between them go
on working on the site, and links to what is no page (sources, data) become plain words. The
notebooks, percent scripts in `docs/notebooks`, are run by `mkdocs build`, and one that fails fails
the build; `mkdocs serve` shows them as they are.
"""

import posixpath
import re
import warnings
from pathlib import Path

import jupytext
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the project: page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/ground_truth/README.md": "ground_truth.md",
    "d2f_jax/models/assets/README.md": "weights_licence.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


_command = "build"


def on_startup(command: str, **_):
    """Remembers what MkDocs was asked for."""
    global _command
    _command = command


def on_config(config):
    """Puts the reference at the end of the navigation."""
    rooms: dict[str, list] = {}
    for module in modules():
        room = module.split(".")[1] if module.count(".") > 1 else "d2f_jax"
        rooms.setdefault(room, []).append({module: f"api/{module}.md"})
    config.nav[-1] = {"Reference": [{room: pages} for room, pages in rooms.items()]}
    return config


def on_files(files: Files, config):
    """Adds the pages from elsewhere, and those of the reference."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for module in modules():
        content = f"# `{module}`\n\n::: {module}\n"
        files.append(File.generated(config, f"api/{module}.md", content=content))
    for script in sorted((ROOT / "docs/notebooks").glob("*.py")):
        text, pictures = _notebook(script)
        files.append(File.generated(config, f"notebooks/{script.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def _notebook(script: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name; run from the project's folder."""
    with warnings.catch_warnings():  # Jupyter's about its own next version
        warnings.simplefilter("ignore")
        from nbconvert import MarkdownExporter
        from nbconvert.preprocessors import ExecutePreprocessor
        from traitlets.config import Config

        notebook = jupytext.read(script)
        if _command != "serve":
            config = Config(KernelManager={"transport": "ipc"})  # it warns of TCP
            executor = ExecutePreprocessor(timeout=600, config=config)
            executor.preprocess(notebook, {"metadata": {"path": ROOT}})
        outputs = {"output_files_dir": ".", "unique_key": script.stem}
        text, resources = MarkdownExporter().from_notebook_node(notebook, resources=outputs)
    names = {name: posixpath.basename(name) for name in resources["outputs"]}
    return text, {names[name]: data for name, data in resources["outputs"].items()}


def on_page_markdown(markdown: str, page, config, files: Files):
    """Turns links between files of the project into links between pages."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    source = next((path for path, name in PAGES.items() if name == here), f"docs/{here}")

    def translated(match: re.Match) -> str:
        picture, words, target, anchor = match.groups(default="")
        if "://" in target or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            return words
        link = posixpath.relpath(name, posixpath.dirname(here) or ".")
        return f"{picture}[{words}]({link}{anchor})"

    return LINK.sub(translated, markdown)


def modules() -> list[str]:
    """The public modules of the library, by name."""
    paths = sorted((ROOT / "d2f_jax").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    public = (name.removesuffix(".__init__") for name in names if ".__main__" not in name)
    return [name for name in public if "._" not in name]
