"""``make test-pictures``: each picture is run again with its real parts, and its page says what this run saw."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from demo.pictures.__main__ import drawn, missing
from demo.pictures.gallery import PICTURES
from demo.pictures.picture import PAGES, Picture


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_a_run_is_as_its_page_says(picture: Picture, tmp_path: Path) -> None:
    assert not missing(picture)
    text = asyncio.run(drawn(picture, tmp_path / "s"))
    page = (PAGES / f"{picture.name}.md").read_text()
    assert steady(text) == steady(page), "if the new run is right: python -m demo.pictures NAME --write"


def steady(page: str) -> str:
    """A page without what differs from run to run: random numbers in hexadecimal, ports, sizes, dates."""
    page = re.sub(r"\b[0-9a-f]{16,}\b", "RANDOM", page)
    page = re.sub(r"(127\.0\.0\.1|localhost):\d{2,5}", r"\1:PORT", page)
    return re.sub(r"\b\d{2,}\b", "N", page)


def test_every_picture_has_a_page_and_every_page_a_picture() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(PICTURES)
