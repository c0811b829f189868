"""MkDocs hook: documents that lie beside the code become pages of the site, and links between them go on working.

A document stays where a reader of the repository looks for it (firmware/CONFIG.md, say). PAGES says which page of the
site it becomes. Links to files that are no pages become plain text: the site does not carry the code.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "overview.md",
    "firmware/README.md": "explanation/firmware.md",
    "firmware/CONFIG.md": "reference/settings.md",
    "boards/PORTING.md": "how-to/new-board.md",
    "host/microipa/hil/README.md": "reference/hil.md",
    "host/microipa/quirks/README.md": "reference/quirks.md",
    "tests/conformance.md": "reference/conformance.md",
    "SECURITY.md": "explanation/security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
PICTURES = {"firmware/day.svg": "explanation/day.svg"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)?(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the repository to the pages of docs/."""
    for source, page in {**PAGES, **PICTURES}.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link to a file of the repository lead to its page."""
    place = page.file.src_uri
    source = SOURCES.get(place, f"docs/{place}")

    def lead(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if target is None or "://" in target or target.startswith("mailto:"):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = PAGES.get(file) or PICTURES.get(file)
        if there is None and file.startswith("docs/") and files.get_file_from_path(file.removeprefix("docs/")):
            there = file.removeprefix("docs/")
        if there is None:
            return f"`{text}`" if "`" not in text else text
        return f"{picture}[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor or ''})"

    return LINK.sub(lead, markdown)
