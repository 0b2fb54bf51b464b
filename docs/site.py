"""Hooks of mkdocs: the pages of the repository that stand outside of docs/ are pages of the site, too.

On a code host all pages are plain Markdown, with links between files. The site has the same files under other addresses, so links are
rewritten here. A link to a file that is no page (code, a folder) becomes its text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Where a page of the repository stands in the site.
ELSEWHERE = {
    "priority/README.md": "explanation/scheduling.md",
    "SECURITY.md": "explanation/security.md",
    "bench/README.md": "explanation/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "DECISIONS.md": "project/decisions.md",
}
HOME = {"README.md": "README.md"}  # the repository's front page leads to the site's
LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that stand elsewhere."""
    for path, uri in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """The page with links as the site has them."""
    source = Path(page.file.abs_src_path or "").resolve().relative_to(ROOT).as_posix()
    here = posixpath.dirname(page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = (ELSEWHERE | HOME).get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(uri) is None and (ROOT / path).exists():
            return text
        anchor = "" if path in HOME else anchor or ""
        return f"{image}[{text}]({posixpath.relpath(uri, here or '.')}{anchor})"

    return LINK.sub(rewritten, markdown)
