"""The code blocks of a page, and what is done with them. A comment of HTML before a block says it, so readers do not see it.

| comment | the block |
|---|---|
| none | is run: `bash` as it is, `python` by Python |
| `<!-- file: PATH -->` | is the content of that file |
| `<!-- output -->` | each line stands in what the block before it printed, in this order |
| `<!-- background -->` | is run beside what follows, until the end of the page |
| `<!-- up -->` | starts the stack, with these settings |
| `<!-- elsewhere: WHY -->` | is not run, because it needs what is not here |
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^( *)(?:<!-- (\w+)(?:: (.*?))? -->\n+ *)?```(\w*)\n(.*?)^ *```$", re.M | re.S)
KINDS = ("run", "file", "output", "background", "up", "elsewhere")
MARK = "@@ block {} @@"


@dataclass(frozen=True)
class Block:
    """A fenced block, and the line that it begins in."""

    kind: str
    about: str
    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """The pages whose blocks are run."""
    return [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def blocks(page: str) -> list[Block]:
    """Every block of that text. Raises ValueError for one that nobody knows what to do with."""
    found: list[Block] = []
    for match in BLOCK.finditer(page):
        indent, kind, about, language, text = match.groups()
        line = page.count("\n", 0, match.start(4)) + 1
        if kind is None and language not in ("bash", "python"):
            raise ValueError(f"line {line}: a block in {language or 'no language'} needs a comment")
        if kind is not None and kind not in KINDS:
            raise ValueError(f"line {line}: {kind}")
        found.append(
            Block(
                kind or "run",
                about or "",
                language,
                re.sub(f"^{indent}", "", text, flags=re.M),
                line,
            )
        )
    return found


def settings(page: str) -> dict[str, str]:
    """The variables that a page starts its stack with."""
    words = (shlex.split(block.text) for block in blocks(page) if block.kind == "up")
    pairs = [word.partition("=") for line in words for word in line if re.match(r"[A-Z]\w*=", word)]
    return {name: value for name, _, value in pairs}


def script(page: str) -> str:
    """The page as one script for bash. It stops at the first line that fails."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2> kill.log || true' EXIT"]
    for block in blocks(page):
        match block.kind:
            case "file":
                lines += [
                    f"mkdir -p {Path(block.about).parent}",
                    _heredoc(f"cat > {block.about}", block.text),
                ]
            case "background":
                lines += [f"( {block.text} ) > background-{block.line}.log 2>&1 &"]
            case "run":
                text = block.text if block.language == "bash" else _heredoc("python3 -", block.text)
                lines += [f"echo; echo '{MARK.format(block.line)}'", text]
            case _:
                pass
    return "\n".join(lines)


def missing(page: str, printed: str) -> list[str]:
    """The lines of output that the page promises and that were not printed."""
    parts = dict(re.findall(MARK.format(r"(\d+)") + r"\n(.*?)(?=\n@@ block|\Z)", printed, re.S))
    before, lacking = "", []
    for block in blocks(page):
        if block.kind == "run":
            before = parts.get(str(block.line), "")
        elif block.kind == "output":
            for line in block.text.splitlines():
                head, found, before = before.partition(line.strip())
                if not found:
                    lacking.append(f"line {block.line}: {line!r} is not in {head!r}")
    return lacking


def _heredoc(command: str, text: str) -> str:
    return f"{command} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK"
