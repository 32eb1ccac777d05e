"""What holds for every page: a first sentence, the line width, references that lead somewhere, a place in the README;
decisions in order; and numbers in prose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from adapters.coap import plugin
from adapters.mqtt.devices.requests import MAX_JOIN
from adapters.mqtt.devices.topics import MAX_DEVICE
from adapters.mqtt.devices.values import MAX_AT_ONCE, MAX_TRANSACTION
from adapters.mqtt.sessions import RECEIVE_MAXIMUM
from adapters.mqtt.times import TIMES
from adapters.zigbee import (
    availability,
    backups,
    device_model,
    fragments,
    interviews,
    reporting_setup,
    strangers,
    zcl_devices,
)
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.ezsp_radio import DELIVERY_TIMEOUT
from adapters.zigbee.send_scheduler import GROW_AFTER, SLEEPER_LANE
from adapters.zigbee.times import TIMES as ZIGBEE_TIMES
from carriage.coap.config import CoapConfig
from carriage.coap.message_layer import TransmissionParameters
from carriage.mqtt.messages import MAX_BODY, UNIT_EXPIRY
from carriage.zigbee.events import TunnelLimits
from carriage.zigbee.mailbox_client import ANSWER_WAITS
from carriage.zigbee.mailbox_server import CONFIRM_WAIT, REPEAT_WAIT
from carriage.zigbee.opening import LEAST_INCOMING
from carriage.zigbee.segmentation import DTLS_UNIT_LIMIT, FURTHEST_AHEAD, MAX_SLICE, SLICE_HEADER_LENGTH, TLS_UNIT_LIMIT
from gateway.engine.limits import EngineLimits
from layer.config import AssociationConfig
from tests.harness.docs_page import read

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
SOURCES = (
    "common",
    "layer",
    "carriage",
    "endpoint",
    "gateway",
    "adapters",
    "simulator",
    "demo",
    "bench",
    "systemd",
    "config",
    "examples",
)
WIDTH = 112

TUNNEL = TunnelLimits()
LIMITS = EngineLimits()
ZIGBEE = ZigbeeConfig(path="tty").limits
PRESENCE = ZigbeeConfig(path="tty").presence
COAP = CoapConfig()
MESSAGES = TransmissionParameters()


def listed(values: Any) -> str:
    *most, last = (f"{value:g}" for value in values)
    return f"{', '.join(most)} and {last} s"


#: page, words that its prose must hold as the code has the numbers
NUMBERS: list[tuple[str, str]] = [
    ("mqtt.md", f"at most {TIMES.early_for:.0f} s until its device"),
    ("home-assistant.md", f"for {TIMES.forget_after:.0f} s is gone"),
    ("mqtt.md", f"({MAX_AT_ONCE} at most)"),
    ("mqtt.md", f"at most {MAX_TRANSACTION} characters"),
    ("mqtt.md", f"above {MAX_DEVICE} octets"),
    ("mqtt.md", f"0 to {MAX_JOIN} seconds"),
    ("coap-devices.md", f"for {LIMITS.command_lifetime / 3600:g} h at most (`limits.command_lifetime`)"),
    ("architecture.md", f"not ready in {LIMITS.open_timeout:g} s ends"),
    ("carriage.md", f"with {RECEIVE_MAXIMUM} units under way at most"),
    ("carriage.md", f"DTLS datagrams of at most {AssociationConfig().mtu} octets"),
    ("carriage.md", f"TLS pieces of at most {AssociationConfig().chunk}."),
    ("carriage.md", f"`limits.max_unit` ({LIMITS.max_unit} by default)"),
    ("carriage.md", f"take {DTLS_UNIT_LIMIT} in an `adtls` tunnel and {TLS_UNIT_LIMIT} in an `atls` tunnel"),
    ("carriage.md", f"`limits.recent_age` ({LIMITS.recent_age:g} s)"),
    ("carriage.md", f"expires in the gateway after {LIMITS.handshake_lifetime:g} s"),
    ("carriage.md", f"any other after {LIMITS.unit_lifetime / 3600:g} h"),
    ("carriage.md", f"flight first after {AssociationConfig().retransmit_initial:g} s"),
    ("carriage.md", f"not answered after {listed(TUNNEL.answer_waits)}"),
    ("carriage.md", f"within {TUNNEL.request_window:g} s for a repetition"),
    ("carriage.md", f"one of the last {TUNNEL.duplicate_window:g} s is a repetition"),
    ("carriage.md", f"At most {ZIGBEE.tunnels_per_device} tunnels with one device endpoint"),
    ("carriage.md", f"quiet for {TUNNEL.quiet_time:g} s"),
    ("carriage.md", f"`min({MAX_SLICE}, maximum payload length - 3 - 2 - {SLICE_HEADER_LENGTH}"),
    ("carriage.md", f"sent again after {listed(TUNNEL.retry_waits)}"),
    ("carriage.md", f"not known after {TUNNEL.delivery_timeout:g} s"),
    ("carriage.md", f"no slice of it came for {TUNNEL.reassembly_timeout:g} s"),
    ("carriage.md", f"({FURTHEST_AHEAD + 1:,} numbers skipped at once)"),
    ("carriage.md", f"stopped for {TUNNEL.stall_timeout:g} s gives up"),
    ("carriage.md", f"needs a max incoming of {LEAST_INCOMING} or more"),
    ("carriage.md", f"not answered within {ANSWER_WAITS[0]:g} s is sent again, three times in all"),
    ("carriage.md", f"within the last {REPEAT_WAIT:g} s"),
    ("carriage.md", f"or {CONFIRM_WAIT:g} s after its last slice"),
    ("carriage.md", f"longer than {MESSAGES.empty_ack_delay:g} s the request is acknowledged empty"),
    ("carriage.md", f"Bodies above {COAP.body_limit} octets, or messages above {COAP.message_limit},"),
    ("carriage.md", f"bodies of at most {plugin.MAX_BODY:,} octets"),
    ("carriage.md", f"if {COAP.max_exchanges} requests of a client wait already"),
    ("carriage.md", f"one JSON object of at most {MAX_BODY} octets"),
    ("carriage.md", f"| {UNIT_EXPIRY} |"),
    ("zigbee.md", f"after {ZIGBEE.reconnect_first:g} s, doubling up to {ZIGBEE.reconnect_most:g} s"),
    ("zigbee.md", f"`limits.start` ({ZIGBEE.start:g} s)"),
    ("zigbee.md", f"`limits.interview` ({ZIGBEE.interview:g} s)"),
    ("zigbee.md", f"after {interviews.INTERVIEW_INTERVAL:g} s at the soonest"),
    ("zigbee.md", f"`limits.in_flight` ({ZIGBEE.in_flight})"),
    ("zigbee.md", f"`limits.sleepy_in_flight` ({ZIGBEE.sleepy_in_flight})"),
    ("zigbee.md", f"`limits.device_window` ({ZIGBEE.device_window})"),
    ("zigbee.md", f"{GROW_AFTER} taken frames in a row"),
    ("zigbee.md", f"counts as lost after {DELIVERY_TIMEOUT:g} s without a word"),
    ("zigbee.md", f"stays in its lane, {SLEEPER_LANE} at most"),
    ("zigbee.md", f"{reporting_setup.AT_ONCE:d} devices are set up at once".replace("8", "Eight")),
    ("zigbee.md", f"after {ZIGBEE_TIMES.first_retry:g} s at the soonest, doubling up to one hour"),
    ("zigbee.md", f"came within the last {device_model.RECENT_SECONDS:g} s is a copy"),
    ("zigbee.md", f"At most {zcl_devices.INBOX} frames wait to be decoded"),
    ("zigbee.md", f"did not answer within {ZIGBEE_TIMES.answer:g} s"),
    ("zigbee.md", f"`presence.always_on` ({PRESENCE.always_on:g} s)"),
    ("zigbee.md", "asked again {:g}, {:g} and {:g} s later".format(*availability.AGAIN)),
    ("zigbee.md", f"{fragments.MESSAGES} may be under way, {fragments.PER_SENDER} of one sender"),
    ("zigbee.md", f"{fragments.FRAGMENTS} fragments each, {fragments.PATIENCE:g} s from one fragment to the next"),
    ("zigbee.md", f"{backups.COUNTERS_A_DAY:,} more for each day since"),
    ("zigbee.md", f"{strangers.QUESTIONS} at once and one in {strangers.QUESTION_PAUSE:g} s of all"),
    ("zigbee.md", f"`presence.sleepy` ({PRESENCE.sleepy / 3600:g} h)"),
    ("zigbee.md", f"within `limits.awake` ({ZIGBEE.awake:g} s) after any frame"),
]


@pytest.mark.parametrize(("page", "words"), NUMBERS)
def test_numbers_in_prose(page: str, words: str) -> None:
    assert words in " ".join((DOCS / page).read_text().split())


@pytest.mark.parametrize("page", PAGES)
def test_form(page: str) -> None:
    lines = (DOCS / page).read_text().split("\n")
    assert lines[0].startswith("# ")
    first = " ".join(lines[2 : lines.index("", 2)])
    assert first.startswith("This page ")
    assert first.endswith(".")
    assert ". " not in first
    assert lines[-1] == ""
    in_block = False
    for number, line in enumerate(lines, 1):
        in_block ^= line.startswith("```")
        assert in_block or line.startswith("|") or len(line) <= WIDTH, f"{page}:{number}"
        assert line == line.rstrip(), f"{page}:{number}"


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)#]+)\)", path.read_text())


@pytest.mark.parametrize("path", [ROOT / "README.md", *(DOCS / page for page in PAGES), *DECISIONS], ids=str)
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    for target in links(path):
        assert (path.parent / target).exists(), target
    for named in re.findall(rf"`((?:{'|'.join(SOURCES)}|tests|docs)/[\w./-]*)`", path.read_text()):
        assert (ROOT / named).exists(), named


def test_the_readme_has_every_page() -> None:
    assert sorted(target for target in set(links(ROOT / "README.md")) if target.startswith("docs/")) == sorted(
        ["docs/decisions/", "docs/pictures/README.md", *(f"docs/{page}" for page in PAGES)]
    )


def test_decisions_are_in_order_and_in_the_index() -> None:
    index = read("decisions/0001-how-decisions-are-kept.md").rows("number")
    for number, path in enumerate(DECISIONS, 1):
        title = path.read_text().partition("\n")[0]
        assert path.name.startswith(f"{number:04}-") and title.startswith(f"# {number}. "), path.name
        row = [str(number), f"[{title.partition('. ')[2]}]({path.name})"]
        assert row in index, f"0001 lacks the row: | {' | '.join(row)} |"
    assert len(index) == len(DECISIONS)


def test_no_page_names_a_decision_that_is_not_there() -> None:
    for path in [*(DOCS / page for page in PAGES), *DECISIONS]:
        for number in re.findall(r"\b[Dd]ecision (\d+)\b", path.read_text()):
            assert 0 < int(number) <= len(DECISIONS), f"{path.name}: decision {number}"


def test_references_in_the_code_lead_to_pages() -> None:
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".service", ".acl", ".conf"):
                for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text()):
                    assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"
