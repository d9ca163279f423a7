"""What MkDocs does beyond mkdocs.yml: whatever a page links to within the repository becomes a page of the site.

Pages of docs/ link to source files, folders and the notebook by relative paths, which is right for those who read
them in the repository, and name tests as pytest does. The site shows each of these at ``source/<path>``, so that it is
whole without a network.
"""

import ast
import json
import os.path
import posixpath
import re
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TARGET = re.compile(r"(?<=\]\()[^)\s:#]+|(?<=<img src=\")[^\"\s:#]+")
ALWAYS = {ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"}  # which the navigation names
CODE = re.compile(r"(?<=<code>)[^<]{14,}(?=</code>)")
JOINT = re.compile(r"::|/|_(?=[^_])|(?<=\w)\.(?=\w)")
TEST = re.compile(r"(?<!\[)`(?:tests/)?([\w/]+\.py)::test_\w+`")
HIDDEN = re.compile(r"(?:(?<=/)|^)\.")  # the dot of names that MkDocs would leave out
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace a folder in the navigation by its pages; a folder without pages is left out."""
    config.nav = [item for item in map(expanded, config.nav or []) if list(item.values()) != [[]]]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for all that is linked to, and for what those pages link to."""
    waiting, seen = [*DOCS.rglob("*.md"), *ALWAYS], set(ALWAYS)
    while waiting:
        path = waiting.pop()
        text = text_of(path)
        if has_page(path):
            content = relinked(text, folder_of(path), place(path)) if has_links(path) else text
            files.append(File.generated(config, place(path), content=content))
        found = {target for target in targets(text, folder_of(path)) if has_page(target)} if has_links(path) else set()
        waiting += sorted(found - seen)
        seen |= found
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page of docs/ lead to those pages."""
    if page.file.generated_by is not None:
        return markdown
    folder = (DOCS / page.file.src_uri).parent
    return relinked(with_tests(markdown, folder), folder, page.file.src_uri)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let long names of tests and files break where they are joined, as tables are narrow."""
    return CODE.sub(lambda code: JOINT.sub(r"\g<0><wbr>", code[0]), html)


def expanded(item: dict) -> dict:
    """An entry of the navigation, of a folder as its pages: its index, and what that links to in this order."""
    ((title, value),) = item.items()
    if not isinstance(value, str) or not value.endswith("/"):
        return item
    index = DOCS / value / "index.md"
    order = ["index.md", *TARGET.findall(index.read_text() if index.is_file() else "")]
    names = sorted(path.name for path in (DOCS / value).glob("*.md"))
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    return {title: [value + name for name in names]}


def folder_of(path: Path) -> Path:
    """The folder that the links of a page are relative to."""
    return path if path.is_dir() else path.parent


def targets(text: str, folder: Path) -> set[Path]:
    """What exists of the files and folders that a text links to."""
    found = {Path(os.path.normpath(folder / target)) for target in TARGET.findall(text)}
    return {path for path in found if path.exists() and path.is_relative_to(ROOT)}


def has_links(path: Path) -> bool:
    """Whether a file or folder is shown as Markdown, and not as code."""
    return path.is_dir() or path.suffix in (".md", ".ipynb")


def has_page(path: Path) -> bool:
    """Whether a file or folder of the repository is shown as a page that MkDocs doesn't find by itself."""
    return path.suffix == ".ipynb" or DOCS not in [path, *path.parents]


def place(path: Path) -> str:
    """Where in the site a file or folder of the repository is, as a source of MkDocs."""
    inside = path.is_relative_to(DOCS)
    name = path.relative_to(DOCS if inside else ROOT).as_posix()
    if path.suffix == ".ipynb":
        return name.removesuffix(".ipynb") + ".md"
    shown = HIDDEN.sub("_", name)
    return name if inside else posixpath.join("source", shown if path.suffix == ".md" else f"{shown}.md")


def relinked(text: str, folder: Path, page: str) -> str:
    """A text whose links to files and folders of the repository lead to their places in the site."""

    def moved(match: re.Match) -> str:
        path = Path(os.path.normpath(folder / match[0]))
        if not path.exists() or not path.is_relative_to(ROOT):
            return match[0]
        return posixpath.relpath(place(path), posixpath.dirname(page))

    return TARGET.sub(moved, text)


def with_tests(text: str, folder: Path) -> str:
    """A text whose tests, named as pytest names them, are links to their files."""

    def linked(match: re.Match) -> str:
        file = test_file(match[1])
        return f"[{match[0]}]({os.path.relpath(file, folder)})" if file else match[0]

    return TEST.sub(linked, text)


@cache
def test_file(name: str) -> Path | None:
    """The file of tests that a name such as ``losses/test_penalties.py`` means, if it is one alone."""
    found = [path for path in (ROOT / "tests").rglob(Path(name).name) if path.as_posix().endswith(f"/{name}")]
    return found[0] if len(found) == 1 else None


def text_of(path: Path) -> str:
    """A file or folder as Markdown."""
    if path.suffix == ".md":
        return with_tests(path.read_text(), path.parent)
    if path.suffix == ".ipynb":
        return "\n\n".join(cell_text(cell) for cell in json.loads(path.read_text())["cells"])
    name = path.relative_to(ROOT).as_posix()
    unsearched = "---\nsearch: {exclude: true}\n---\n"
    if path.is_dir():
        rows = [f"- [`{file.name}`]({file.name}): {first_line(file)}" for file in sorted(path.glob("*.py"))]
        return "\n".join([f"{unsearched}# `{name}/`\n", *rows]) + "\n"
    return f"{unsearched}# `{name}`\n\n`````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text()}\n`````\n"


def first_line(file: Path) -> str:
    """What a module says of itself."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def cell_text(cell: dict) -> str:
    """A cell of a notebook as Markdown."""
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
