"""``make test-pictures``: each picture is run again with its real parts, and its page says what this run saw."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from demo.pictures.__main__ import missing, ran
from demo.pictures.gallery import PICTURES
from demo.pictures.picture import PAGES, Picture, Saw, leaks, page


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_a_run_is_as_its_page_says_and_no_box_saw_a_secret(picture: Picture, tmp_path: Path) -> None:
    assert not missing(picture)
    steps, sights = asyncio.run(ran(picture, tmp_path / "s"))  # which raises if a box saw one
    assert picture.secrets
    assert not [saw.box for saw in sights if not saw.clear], "nothing was looked through"
    text, written = page(picture, steps, sights), (PAGES / f"{picture.name}.md").read_text()
    assert steady(text) == steady(written), "if the new run is right: python -m demo.pictures NAME --write"


async def _nothing(_: object) -> tuple[tuple[()], tuple[()]]:
    return (), ()


@pytest.mark.parametrize(
    ("saw", "boxes"),
    [
        (Saw("nginx", "", ["POST /"], b"\x17\x03\x03 the key of the house"), ["nginx"]),
        (Saw("nginx", "", ["the key of the house"], b"-"), ["nginx"]),
        (Saw("nginx", "", ["POST /"], b"the key of the horse"), []),
    ],
)
def test_a_secret_that_a_box_saw_is_found(saw: Saw, boxes: list[str]) -> None:
    picture = Picture("x", "", "", "", "", _nothing, secrets=["the key of the house"])
    assert leaks(picture, [saw]) == boxes


def steady(page: str) -> str:
    """A page without what differs from run to run: random numbers in hexadecimal, ports, sizes, dates; not the statuses
    of answers."""
    page = re.sub(r"\b[0-9a-f]{16,}\b", "RANDOM", page)
    page = re.sub(r"(127\.0\.0\.1|localhost):\d{2,5}", r"\1:PORT", page)
    return re.sub(r"(?<!-> )(?<!< )\b\d{2,}\b", "N", page)


def test_a_status_is_compared_and_a_port_is_not() -> None:
    page = "CONNECT localhost:{} -> {}, user app\n< {} application/atls {} octets"
    written = steady(page.format(40001, 200, 204, 1198))
    assert steady(page.format(50123, 200, 204, 77)) == written
    assert steady(page.format(40001, 407, 204, 1198)) != written
    assert steady(page.format(40001, 200, 409, 1198)) != written


def test_every_picture_has_a_page_and_every_page_a_picture() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(PICTURES)
