"""Files of the repository as pages of the site, and links between the two that work in the repository and in the site.

A page of the site links to a file of the repository by its relative path (`../checkpoints.md`). If that file is a page
of the site too (PAGES), the link leads there; any other file is named without a link, since the site does not hold it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # file of the repository: page of the site, so that a figure stands in one place
    "checkpoints.md": "checkpoints.md",
    "radiolucent/model/README.md": "model-card.md",
    "radiolucent/diffusion_model/README.md": "diffusion-model-card.md",
    "radiolucent/synthesis_model/README.md": "synthesis-model-card.md",
    "evaluation/views/model/README.md": "views-model-card.md",
    "benchmarks/README.md": "benchmarks.md",
    "drr/data/README.md": "sample-ct.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
SITE_ALONE = "README.md"  # its page is docs/index.md
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files of the repository."""
    for source, page in PAGES.items():
        if source != SITE_ALONE:
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=relink(text, source, page)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page of docs/ that leave docs/ to the site's pages."""
    if page.file.src_uri in PAGES.values() and page.file.src_uri != PAGES[SITE_ALONE]:
        return markdown
    return relink(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def relink(text: str, source: str, page: str) -> str:
    """The Markdown text of a file with its links as the site needs them.

    Args:
        text: Markdown.
        source: The file's path in the repository, to which its links are relative.
        page: The page's path in the site.

    Returns:
        The text, links to files of the repository that are no pages replaced by their words.
    """

    def replaced(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path in PAGES:
            path = PAGES[path]
        elif (ROOT / path).exists():
            return words
        else:
            return match[0]  # mkdocs says that it leads nowhere
        return f"{picture}[{words}]({posixpath.relpath(path, posixpath.dirname(page) or '.')}{anchor or ''})"

    return LINK.sub(replaced, text)
