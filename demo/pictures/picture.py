"""A picture: who stands between whom, a run with real parts, what each box saw, and its page in docs/pictures/."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.stack import Stack

PAGES: Final = Path(__file__).parents[2] / "docs" / "pictures"


@dataclass(frozen=True, slots=True)
class Saw:
    """What one box, or who listens on one cable, saw in clear during a run.

    ``lines``: as it was seen (from its own log if it keeps one), in order, without what differs between two runs
    where that can be helped. ``note``: what that means. ``clear``: all octets that it could read, in which the secrets
    of layer 0 are looked for.
    """

    box: str
    note: str
    lines: Sequence[str]
    clear: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, in order; ``text`` is true of every run."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """``name``: of the command and the page. ``figure``: of which draft. ``drawing``: in characters, at most 100 wide.

    ``words``: what the picture is for, in a paragraph. ``run`` makes it with real parts below the stack's directory and
    returns what happened and what was seen; it raises ``ProcessFailedError`` if a part fails.
    ``needs``: commands that have to be there, by Debian package. ``secrets``: what the run sends inside layer 0, and no
    box may see.
    """

    name: str
    title: str
    figure: str
    drawing: str
    words: str
    run: Callable[[Stack], Awaitable[tuple[Sequence[Step], Sequence[Saw]]]]
    needs: Sequence[str] = ()
    secrets: Sequence[str] = ()


def leaks(picture: Picture, sights: Sequence[Saw]) -> list[str]:
    """The boxes that saw a secret of layer 0 in clear."""
    secrets = [secret.encode() for secret in picture.secrets]
    return [
        saw.box
        for saw in sights
        if any(secret in octets for secret in secrets for octets in (saw.clear, "\n".join(saw.lines).encode()))
    ]


def page(picture: Picture, steps: Sequence[Step], sights: Sequence[Saw]) -> str:
    """The page of one run, in Markdown."""
    lines = [f"# {picture.title}", "", *_wrapped(f"{picture.words} ({picture.figure})"), ""]
    lines += ["```", *picture.drawing.strip("\n").splitlines(), "```", ""]
    lines += [*_wrapped(f"`python -m demo.pictures {picture.name} --write` made this page from a run."), ""]
    lines += ["## What happened", ""]
    for number, step in enumerate(steps, 1):
        lines += textwrap.wrap(
            f"{number}. {step.text}", 110, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False
        )
    lines += ["", "## What each box saw"]
    for saw in sights:
        lines += ["", f"### {saw.box}", "", *_wrapped(saw.note), "", "```", *saw.lines, "```"]
    return "\n".join([*lines, ""])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
