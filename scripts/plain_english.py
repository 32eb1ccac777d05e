"""The lint of docs/style.md: phrases that are this project's own idiom and that an English reader stumbles over.

It reads comments, strings (docstrings, messages) and names of tests in Python files, and Markdown outside code blocks.
A file that isn't rewritten yet has a count in ``plain_english.txt`` beside this script; a count may only fall.
``--show PATH...`` lists what is found; ``--write`` lowers the counts to what there is, and never raises one.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
COUNTS = Path(__file__).with_suffix(".txt")
SKIPPED = (
    "findings/", "docs/decisions/", "CHANGELOG.md", "tests/data/", "tests/docs/test_plain_english.py",
    "scripts/plain_english.py", "docs/style.md",
)  # fmt: skip
#: pattern, what to write instead
IDIOM = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"[,;:] where (?:the|its|an?|one|that|this|they|both|neither)\b", "if, when or because"),
        (
            r"\bwhere (?:no|there|nothing|it(?! begins| came from| ends| is from| is now| lies| stands| stopped))\b",
            "if",
        ),
        (r"\banew\b", "again"),
        (r"\blately\b", "recently"),
        (r"\bcounts? (?:not|no more)\b", "is ignored, or no longer counts"),
        (r"\btold\b(?! apart)", "name the actor: X reported to Y, X notified Y"),
        (r"\bhears?(?: of)?\b", "is notified of, learns of, gets"),
        (r"\bwhoever\b", "the actor: any client, a subject that"),
        (r"\bof (?:its|their|our|his) own\b(?! accord)", "its own X, a separate X"),
        (r"\bof (?:ours|theirs)\b", "our X, their X"),
        (r"\bany more\b", "any longer, or no longer with the verb"),
        (r"\bno more\b(?! than| ids)", "no longer, or none"),
        (r"\bnobody\b(?! else)", "name the actor: no client, no adapter"),
        (r"\bsomebody\b", "name the actor: a client, an administrator"),
    )
]
#: Every match of IDIOM is one of this, over a whole file too: a file without one needn't be read token by token.
_SUSPECT = re.compile("|".join(re.sub(r"\(\?!.*?\)", "", pattern.pattern) for pattern, _ in IDIOM), re.IGNORECASE)
#: the target of a Markdown link, and a string without a space: a name, a key or a path
_NO_PROSE = re.compile(r"\]\([^)\s]*\)|^[bf]?[\"']\S*[\"']$")
Found = list[tuple[int, str, str]]


def texts(path: Path) -> Iterable[tuple[int, str]]:
    """(line, text) of all prose in a file, each paragraph, comment block or string as one text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        in_block, start, lines = False, 1, list[str]()
        for number, line in enumerate([*text.split("\n"), ""], 1):
            in_block ^= line.startswith("```")
            if not in_block and line.strip() and not line.startswith(("```", "|")):
                lines.append(line)
                continue
            yield start, " ".join(lines)
            start, lines = number + 1, []
            if line.startswith("|") and not in_block:
                yield number, line
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE"):
            yield token.start[0], token.string
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def found_in(path: Path) -> Found:
    found: Found = []
    if not _SUSPECT.search(" ".join(path.read_text(encoding="utf-8").replace("_", " ").split())):
        return found
    for start, text in texts(path):
        flat = _NO_PROSE.sub("", " ".join(text.split()))
        for pattern, better in IDIOM:
            found += [(start, flat[max(0, m.start() - 40) : m.end() + 30], better) for m in pattern.finditer(flat)]
    return found


def files() -> list[str]:
    # Files that are not added yet too: else only the next clone would find what is wrong with them.
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if not name.startswith(SKIPPED) and (ROOT / name).exists()]


def allowed(text: str) -> dict[str, int]:
    return {name: int(count) for count, name in (line.split() for line in text.splitlines() if line[:1].isdigit())}


def too_many(counts: dict[str, int], limits: dict[str, int]) -> list[str]:
    return [name for name, count in sorted(counts.items()) if count > limits.get(name, 0)]


def lowered(text: str, counts: dict[str, int]) -> str:
    """The list of counts, none higher than before, without files that need none any longer."""
    head = [line for line in text.splitlines() if line.startswith("#")]
    kept = {name: min(limit, counts.get(name, 0)) for name, limit in sorted(allowed(text).items())}
    return "\n".join([*head, *(f"{count} {name}" for name, count in kept.items() if count)]) + "\n"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--show"]:
        for name in arguments[1:]:
            for line, phrase, better in found_in(ROOT / name):
                print(f"{name}:{line}: {phrase!r}: {better}")
        return 0
    counts = {name: len(found_in(ROOT / name)) for name in files()}
    limits = allowed(COUNTS.read_text())
    if arguments == ["--write"]:
        COUNTS.write_text(lowered(COUNTS.read_text(), counts))
    bad = too_many(counts, limits)
    for name in bad:
        print(f"{name}: {counts[name]} phrases to rewrite by docs/style.md, at most {limits.get(name, 0)} allowed:")
        for line, phrase, better in found_in(ROOT / name):
            print(f"  line {line}: {phrase!r}: {better}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
