"""``python -m demo.pictures NAME``: runs a picture and prints its page; ``--write`` puts it into docs/pictures/."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common.replacing import replace
from demo.pictures.gallery import PICTURES
from demo.pictures.picture import PAGES, Picture, Saw, Step, leaks, page
from demo.process import ProcessFailedError
from demo.stack import running


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.pictures", description=(__doc__ or "").split(":")[1].strip())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PICTURES)}; all if none is named")
    parser.add_argument("--list", action="store_true", help="what there is, and do nothing")
    parser.add_argument("--write", action="store_true", help="write docs/pictures/ instead of printing it")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.names) - set(PICTURES):
        parser.error(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    return chosen


def missing(picture: Picture) -> list[str]:
    """The Debian packages whose command is not here."""
    path = "/usr/sbin:/usr/local/sbin"
    return [each for each in picture.needs if not (shutil.which(each) or shutil.which(each, path=path))]


async def ran(picture: Picture, folder: Path) -> tuple[Sequence[Step], Sequence[Saw]]:
    """What happened in one run below ``folder``, and what was seen. ProcessFailedError: a part failed, or leaked."""
    async with running(folder) as stack:
        steps, sights = await picture.run(stack)
    if boxes := leaks(picture, sights):
        raise ProcessFailedError(f"a secret of layer 0 was seen in clear by: {', '.join(boxes)}")
    return steps, sights


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    chosen = options(sys.argv[1:])
    pictures = [PICTURES[name] for name in chosen.names or PICTURES]
    if chosen.list:
        for picture in pictures:
            sys.stdout.write(f"{picture.name:16} {picture.title} ({picture.figure})\n")
        return 0
    for picture in pictures:
        if absent := missing(picture):
            _say(f"{picture.name}: not here: {', '.join(absent)}; as root: scripts/setup pictures")
            return 1
        _say(f"{picture.name}: running ...")
        try:
            with tempfile.TemporaryDirectory() as folder:
                text = page(picture, *asyncio.run(ran(picture, Path(folder) / "s")))
        except ProcessFailedError as failure:
            _say(f"{picture.name}: {failure}")
            return 1
        if chosen.write:
            PAGES.mkdir(exist_ok=True)
            replace(PAGES / f"{picture.name}.md", text, 0o644)
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
