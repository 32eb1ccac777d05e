"""docs/http.md: its tables and numbers are those of the code. tests/e2e/test_http_pages.py runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.http import south_devices
from adapters.http.south_device_values import MAX_AT_ONCE
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.device_resources import MAX_KEY, parse
from tests.harness.docs_page import read

PAGE = read("http.md")


def test_the_resources_of_devices_are_read() -> None:
    for request, *_ in PAGE.rows("request", "Devices"):
        method, _, target = request.strip("`").partition(" ")
        body = b"{}" if method == "PUT" else b""
        found = parse(HttpRequest(method, target, (("content-type", "application/json"),), body))
        assert not isinstance(found, HttpResponse), request


@pytest.mark.parametrize(
    "words",
    [f"{MAX_AT_ONCE} at most", f"keeps {south_devices.MAX_STATES} of these", f"1 to {MAX_KEY} characters"],
)
def test_numbers(words: str) -> None:
    assert words in " ".join(PAGE.text.split())


def test_every_event_has_its_row() -> None:
    text = (Path(south_devices.__file__).parent / "south_devices.py").read_text()
    events = set(re.findall(r'event="(\w+)"', text)) | {"missed", "end"}
    assert {row[0].strip("`") for row in PAGE.rows("event", "Events")} == events
