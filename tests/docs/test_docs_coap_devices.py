"""docs/coap-devices.md: its requests, its links and its pack against the code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.coap import links
from adapters.coap.devices import MAX_STATES
from adapters.coap.observers import PACING
from adapters.coap.plugin import CONNECTION
from adapters.coap.representation import whole
from carriage.coap import codes, device_resources, options
from carriage.coap.atls_format import REASON_CODES
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import write_links
from gateway.api.model import Address, DataType, DeviceView, PropertyAffordance, Sample
from tests.harness.docs_page import Page, read

ON = PropertyAffordance(name="on", type=DataType.BOOLEAN, resource_type="urn:oma:lwm2m:ext:3306", writable=True)
LAMP = DeviceView(
    name="lamp", address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"),
    may=frozenset(("read", "observe", "write")), online=True, sleepy=False, facts=(), properties=(ON,),
    samples={"on": Sample(True, 100.0, False)},
)  # fmt: skip


def vanished() -> float:
    """Seconds until a confirmable message counts as lost, at the most (RFC 7252, section 4.8.2)."""
    parameters = CONNECTION.transmission
    return parameters.ack_timeout * parameters.ack_random_factor * (2 ** (parameters.max_retransmit + 1) - 1)


@pytest.fixture
def devices_page() -> Page:
    return read("coap-devices.md")


def test_requests(devices_page: Page, code_words: Callable[[str], list[str]]) -> None:
    for row in devices_page.rows("request"):
        method, _, path = code_words(row[0])[0].partition(" ")
        path = (
            path.replace("NAME", "lamp").replace("PROPERTY", "on").replace("ACTION", "toggle").replace("EVENT", "press")
        )
        code = {"GET": codes.GET, "PUT": codes.PUT, "POST": codes.POST}[method]
        request = options.uri(path.strip("/").split("/"))
        number = options.ACCEPT if code == codes.GET else options.CONTENT_FORMAT
        formats = [int(word) for word in row[2].split(", ")]
        if (
            method == "GET" and path.startswith("/d/") and path.count("/") == 3
        ):  # whose name it is, a property's or an event's, the adapter knows
            formats = [*formats, *(each for each in (0, 50, 60, 110, 112) if each not in formats)]
        if method == "POST":
            formats = [0, 40, *formats, 110, 112, 432]  # without a body the format of the body is of no matter
        for form in (0, 40, 50, 60, 110, 112, 432):
            made = Request(code, (*request, (number, options.encode_uint(form))))
            assert isinstance(device_resources.parse(made), Response) is (form not in formats), (path, form)
        if method == "GET" and formats[0] not in (40, 432) and "EVENT" not in row[0]:
            default = device_resources.parse(Request(code, request))
            assert isinstance(default, device_resources.Read) and default.format == formats[0]


def test_links_and_values(devices_page: Page) -> None:
    assert write_links(links.devices((LAMP,))) == devices_page.block("text", "coap-device-links").strip().encode()
    pack = whole(LAMP, device_resources.SENML_JSON, 103.2)
    assert pack.payload == devices_page.block("json", "coap-device-senml").strip().encode()
    assert {int(row[0]) for row in devices_page.rows("content format")} == set(device_resources.SET_FORMATS)


def test_refusals_are_those_of_reasons(devices_page: Page) -> None:
    assert {row[0] for row in devices_page.rows("code")} <= {codes.dotted(code) for code in REASON_CODES.values()}


@pytest.mark.parametrize(
    "words",
    [
        f"at least {PACING.pace:g} s apart",
        f"no confirmable one for {PACING.quiet:g} s",
        f"after {PACING.settled:g} s without another",
        f"no block for {CONNECTION.fetch_patience:g} s",
        f"for {CONNECTION.transfer_lifetime:g} s from the last fetch",
        f"in {vanished():g} s ({1 + CONNECTION.transmission.max_retransmit} transmissions)".replace("(3", "(three"),
        f"keeps {MAX_STATES} of them",
        "up to `answer_within` (20 s)",
    ],
)
def test_numbers(devices_page: Page, words: str) -> None:
    assert words in " ".join(devices_page.text.split())
