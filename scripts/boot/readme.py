"""The commands of README.md and of pages, so that the test runs what a user reads and neither changes alone."""

from __future__ import annotations

import re

from scripts.boot.machine import PROJECT, FailedError


def commands(section: str, having: str, page: str = "README.md") -> list[str]:
    """The lines of the one block below a heading of this text that has this command."""
    heading, inside = "", False
    lines: list[str] = []
    blocks: list[list[str]] = []
    for line in (PROJECT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
            if inside:
                lines = []
            elif heading == section:
                blocks.append(lines)
        elif inside:
            lines.append(line)
        elif found := re.fullmatch(r"#+ (.*)", line):
            heading = found[1]
    matching = [block for block in blocks if any(having in line for line in block)]
    if len(matching) != 1:
        raise FailedError(f"{page}, {section!r}: expected one block with {having!r}, found {len(matching)}")
    return matching[0]
