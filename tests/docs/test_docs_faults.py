"""docs/faults.md: each fault has its row, each row its tests, and each number is the code's."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

import bellows.ash
import bellows.zigbee.application
import pytest

from adapters.coap import observers, plugin
from adapters.http.config import HttpTable
from adapters.http.north_config import TIMES as NORTH_TIMES
from adapters.http.north_tables import ServiceTable
from adapters.http.south import LISTEN_AGAIN
from adapters.http.south_events import READ_WITHIN
from adapters.mqtt import hearing, news
from adapters.mqtt.devices.commands import MAX_PENDING
from adapters.mqtt.plugin import MqttConfig
from adapters.mqtt.times import TIMES
from adapters.zigbee import availability, command_execution, dongle, reporting_setup
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.times import TIMES as RADIO_TIMES
from carriage.mqtt import blame
from carriage.mqtt import sender as mqtt_sender
from carriage.mqtt.options import MqttOptions
from carriage.zigbee.events import TunnelLimits
from common import log_rate
from common.backoff import Backoff
from gateway.engine.limits import EngineLimits
from gateway.runtime import admin, daemon, store, store_clock, store_keeper
from gateway.runtime.supervisor import RestartPauses
from layer import handshakes
from tests.harness.docs_page import Page, cells, read

ROOT = Path(__file__).parents[2]
HEADER = ["fault", "noticed", "recovery", "kept", "lost", "reported to", "tests"]
FAULTS = (
    "dongle unplugged and back",
    "NCP reports an error",
    "NCP resets itself",
    "radio over TCP cut and back",
    "dongle frozen",
    "dongle replaced by a blank one",
    "dongle replaced by one with another network",
    "dongle whose address can't be written",
    "state folder lost, dongle not",
    "the path is no dongle's",
    "broker gone and back",
    "broker stalls",
    "broker stopped in good order",
    "broker crashes and goes back to a snapshot",
    "broker that hangs up at MQTT 5",
    "broker grants a subscription and brings nothing (ACL)",
    "broker does not bear a topic, or a long packet",
    "client sends what can't be taken: too long, malformed, absurd",
    "broker refuses the login",
    "broker refuses topics (ACL)",
    "phone vanishes behind an Observe of a session",
    "phone vanishes behind an Observe of a device",
    "slow CoAP client",
    "slow MQTT subscriber",
    "a host begins handshakes and finishes none",
    "an attacker fakes datagrams to a handshake under way",
    "clients that vanish without a word, again and again",
    "HTTP client vanishes while it polls or watches",
    "clients flood the HTTP listener: connections that say nothing, polls, streams",
    "the address of the HTTP listener is taken",
    "administrator that does not read",
    "disk full",
    "log can't be written",
    "clock jumps forwards or back",
    "clock jumps across a restart",
    "store missing",
    "store corrupt, or not ours",
    "killed (kill -9) in mid traffic: sessions",
    "killed (kill -9) in mid traffic: commands to devices",
    "an older version starts on the state of a newer one",
    "the state is that of a backup",
    "a restore is killed",
    "a disk is full in a backup or a restore",
    "stopped in order",
    "device vanishes",
    "device without power for a while",
    "endpoint that does not describe itself",
    "endpoint that is not listed",
    "killed (kill -9) in mid interview, or as a device leaves",
    "sleeper does not wake",
)

LIMITS = EngineLimits()
ZIGBEE = ZigbeeConfig(path="tty")
RESTART = RestartPauses()
MQTT = MqttOptions(host="", port=0, client_id="")
COAP = plugin.CoapTable.model_fields
CONNECTION = plugin.CONNECTION.transmission
KEEPALIVE = MqttConfig.model_fields["keepalive"].default
EXPIRY = MqttConfig.model_fields["session_expiry"].default
CHANCES = (0.0, 1.0)


def spread(pause: Any) -> str:
    """The factors that chance can make of a pause."""
    return "{:g} to {:g} times as long".format(*sorted(pause(chance) for chance in CHANCES))


SPREAD = spread(lambda chance: Backoff(1.0, 1.0, lambda: chance).next())

#: words that the page must hold as the code has the numbers; no other number may stand in it
NUMBERS = (
    f"logged again every {MQTT.say_again:g} s",
    f"`return_within` ({MqttConfig.model_fields['return_within'].default:g} s) in case it comes back",
    f"do not come back within {hearing.WAIT:g} s",
    f"the next try of every {hearing.AGAIN:g} s",
    "hangs up at MQTT 5",
    "with MQTT 3.1.1 at once",
    "In MQTT 3.1.1 one whose packet id can't be read",
    f"both ends within {30:g} s",  # the promise of docs/carriage.md; tests/e2e/test_both_ends_hear.py counts it
    f"| dongle | {ZIGBEE.limits.reconnect_first:g} s | {ZIGBEE.limits.reconnect_most:g} s | {SPREAD} |",
    f"| broker | {MQTT.backoff_first:g} s | {MQTT.backoff_limit:g} s | {SPREAD} |",
    f"| adapter that crashed | {RESTART.first:g} s | {RESTART.longest:g} s | {SPREAD} |",
    f"| store that can't be written | {store_keeper.RETRY[0]:g} s | {store_keeper.RETRY[1]:g} s |",
    f"held for {mqtt_sender.STABLE:g} s, a dongle",
    f"that did for {RESTART.calm:g} s, begins again",
    f"from {RADIO_TIMES.away:g} s on it counts",
    f"`limits.unreachable_after` ({LIMITS.unreachable_after:g} s)",
    f"{bellows.ash.T_RX_ACK_MIN:g} s to {bellows.ash.T_RX_ACK_MAX:g} s apart",
    f"sign of life every {bellows.zigbee.application.ControllerApplication._watchdog_period:g} s: within 30 s",
    f"`limits.start` ({ZIGBEE.limits.start:g} s)",
    f"twice `keepalive` ({KEEPALIVE:g} s)",
    f"units wait for {TIMES.grace:g} s",
    f"waited for longer than {TIMES.grace:g} s",
    f"does not take in {TIMES.grace:g} s",
    f"expires after {news.EXPIRY:g} s",
    f"at most {mqtt_sender.STATE_ROOM // 1024} KiB of buffer",
    f"beyond half of {2 * MAX_PENDING} messages and {news.MOST} more",
    f"acknowledgement within {CONNECTION.ack_timeout * 1.5 * (2 ** (CONNECTION.max_retransmit + 1) - 1):g} s",
    f"acknowledged within {CONNECTION.ack_timeout * 1.5 * (2 ** (CONNECTION.max_retransmit + 1) - 1):g} s",
    f"`absence` ({COAP['absence'].default:g} s)",
    f"`absence` ({HttpTable.model_fields['absence'].default:g} s)",
    f"at the first request, within {ServiceTable.model_fields['connect_within'].default:g} s",
    f"a request that was not sent is tried again for {NORTH_TIMES.patience:g} s",
    f"another one after {LIMITS.unreachable_after:g} s",
    f"can't be written to it within {READ_WITHIN:g} s",
    f"tried again every {LISTEN_AGAIN:g} s",
    f"`limits.idle` ({LIMITS.idle / 3600:g} h)",
    f"the confirmable one {observers.PACING.settled:g} s behind it",
    f"after `idle` ({COAP['idle'].default:g} s)",
    f"`handshake_rate`, {COAP['handshake_rate'].default:g} a second",
    f"log, {log_rate.LINES} lines in {log_rate.INTERVAL:g} s",
    f"an alert shortens the wait to {handshakes.AFTER_ALERT:g} s",
    f"of their identity ({COAP['max_clients_per_identity'].default}), "
    f"of their host ({COAP['max_clients_per_host'].default}) or of all ({COAP['max_clients'].default})",
    f"after {admin.IDLE:g} s for an answer",
    f"{admin.MAX_CONNECTIONS} are served at once",
    f"more than {store_clock.JUMP:g} s apart",
    f"the last {store._ASIDE} are kept",
    f"written (within {store_keeper.SOON:g} s)",
    f"in the last {store_keeper.SOON:g} s",
    f"`session_expiry`, {EXPIRY} s",
    f"longer than {TIMES.acknowledge_by:g} s",
    f"within {daemon.STOP_LIMIT:g} s",
    f"`presence.always_on` ({ZIGBEE.presence.always_on:g} s)",
    f"asked again after {', '.join(f'{pause:g}' for pause in availability.AGAIN)} s",
    f"after {RADIO_TIMES.first_describe:g} s, then twice as late each time up to an hour, "
    f"{reporting_setup.DESCRIBED} times",
    f"`limits.interview` ({ZIGBEE.limits.interview:g} s)",
    f"not answer | after {RADIO_TIMES.leave:g} s",
    "exit code 78",
    f"`presence.sleepy` ({ZIGBEE.presence.sleepy / 3600:g} h)",
    f"`limits.command_lifetime` ({LIMITS.command_lifetime:g} s)",
    f"`limits.unit_lifetime` ({LIMITS.unit_lifetime / 3600:g} h)",
    f"at most {command_execution.HELD} commands",
    f"tried again after {blame.FIRST_PAUSE:g} s, then later each time",
    "before 2026",
    "killed (kill -9)",
)


@pytest.fixture(scope="module")
def page() -> Page:
    return read("faults.md")


@pytest.fixture(scope="module")
def rows(page: Page) -> list[list[str]]:
    """The rows of all tables of faults."""
    found, inside = [], False
    for line in page.text.splitlines():
        row = cells(line) if line.startswith("|") else []
        if row == HEADER:
            inside = True
        elif not row:
            inside = False
        elif inside and set(row[0]) != {"-"}:
            found.append(row)
    return found


def test_each_fault_has_one_row(rows: list[list[str]]) -> None:
    named = [row[0] for row in rows]
    assert len(named) == len(set(named))
    assert set(FAULTS) <= set(named)
    assert all(len(row) == len(HEADER) and all(row) for row in rows)


@functools.cache
def names_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_row_has_tests_and_they_are_there(rows: list[list[str]]) -> None:
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[-1])
        assert named, row[0]
        assert " ".join(f"`{path}::{name}`" for path, name in named) == row[-1], row[0]
        for path, name in named:
            assert name in names_in(ROOT / path), f"{row[0]}: {path}::{name}"


@pytest.mark.parametrize("words", NUMBERS)
def test_each_number_is_the_code_s(page: Page, words: str) -> None:
    assert words in " ".join(page.text.split())


def test_no_other_number_stands_there(page: Page) -> None:
    text = " ".join(re.sub(r"`tests/[^`]+`", "", page.text).split())
    for words in NUMBERS:
        text = text.replace(words, "")
    assert re.findall(r".{0,40}\d.{0,40}", text) == []


def test_a_frozen_dongle_and_a_dead_air_are_noticed_as_the_page_says() -> None:
    period = bellows.zigbee.application.ControllerApplication._watchdog_period
    assert bellows.ash.ACK_TIMEOUTS == 5
    assert period + bellows.ash.T_RX_ACK_INIT + 4 * bellows.ash.T_RX_ACK_MAX < 30
    assert len(TunnelLimits().retry_waits) + 1 == 5
    assert RADIO_TIMES.away + sum(TunnelLimits().retry_waits) + LIMITS.unreachable_after < 30


def test_the_store_s_clock_is_set_from_that_year_on() -> None:
    assert store_clock.CLOCK_IS_SET == 1_767_225_600  # 2026-01-01


def test_a_dongle_is_forgiven_as_an_adapter_is() -> None:
    assert RESTART.calm == dongle.SETTLED
