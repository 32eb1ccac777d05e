"""Pages of docs/ as the tests see them: their text, their marked blocks, and the tables in them.

A marked block is a fence whose info string has two words, a language and a name: ```` ```hex zigbee-request ````. Every
marked block has to be used by a test: ``Page.unread`` names those that no test compared with the code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(\w+) ([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")


@dataclass
class Page:
    """One page. ``blocks``: name to (language, content)."""

    name: str
    text: str
    blocks: dict[str, tuple[str, str]] = field(default_factory=dict)

    def block(self, language: str, name: str) -> str:
        found, content = self.blocks[name]
        assert found == language
        return content

    def octets(self, name: str) -> bytes:
        """A hex block; what follows a ``#`` in a line is a comment."""
        lines = self.block("hex", name).splitlines()
        return bytes.fromhex("".join(line.partition("#")[0] for line in lines))

    def names(self, language: str) -> set[str]:
        return {name for name, (found, _) in self.blocks.items() if found == language}

    def rows(self, first_header: str, heading: str | None = None) -> list[list[str]]:
        """The rows of the first table whose first column is called so, below a heading where one is given."""
        text = self.text
        if heading is not None:
            at = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
            assert at is not None, f"{self.name}: no heading {heading}"
            text = text[at.end() :]
        lines = iter(text.splitlines())
        for line in lines:
            if line.startswith("|") and cells(line)[0] == first_header:
                next(lines)
                break
        else:
            raise AssertionError(f"{self.name}: no table {first_header!r}")
        found = []
        for line in lines:
            if not line.startswith("|"):
                break
            found.append(cells(line))
        return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(name: str) -> Page:
    text = (DOCS / name).read_text(encoding="utf-8")
    page = Page(name, text)
    for language, label, content in _FENCE.findall(text):
        assert label not in page.blocks, f"{name}: two blocks {label}"
        page.blocks[label] = (language, content)
    return page
