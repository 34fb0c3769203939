"""What the site takes from outside of `docs/`, and a page of reference for every public module.

A hook of MkDocs (`mkdocs.yml`). Markdown files of the project become pages; links between them go
on working on the site, and links to what is no page (sources, data) become plain words.
"""

import posixpath
import re
from pathlib import Path

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
    return files


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
