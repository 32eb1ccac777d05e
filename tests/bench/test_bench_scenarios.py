"""Every row of the benchmark runs and gives numbers. Nothing here says how fast anything has to be."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import report
from bench.checkout import HERE, Checkout
from bench.cpu import memory, usage
from bench.fades import fades
from bench.load import LoadSpec, measure
from bench.long_polls import long_polls
from bench.messages import record
from bench.micro import calls, seconds_per_call
from bench.scenario import ROOT, Level, Scenario, Site, full
from bench.scenarios import CLIENTS, rows
from bench.sensor_network_scenarios import over_house
from bench.start import starts
from demo.process import ProcessFailedError
from layer.records import APPLICATION_DATA, read_datagram

NAMES = {
    "floor": {"udp echo, drain", "udp echo, protocol"},
    "ip": {
        "gateway, coaps to mqtt",
        "mqtt publish, paho",
        "mqtt publish, ours",
        "coaps server, ours",
        "coap server, aiocoap",
    },
    "http": {"gateway, coaps to https", "aiohttp post", "gateway, https to mqtt", "aiohttp handler, paho"},
    "zigbee": {"gateway, zigbee to coaps", "bellows"},
    "house": {
        "gateway, report to mqtt",
        "bellows, bare hook",
        "zigpy, attribute",
        "gateway, mqtt set to frame",
        "bellows, call to frame",
    },
}
LEVELS = (Level("loop", in_flight=4), Level("rate", rate=50.0))


async def _measure_each(found: list[Scenario], part: str) -> None:
    assert {row.name for row in found} == NAMES[part]
    pairs = [row.beside for row in found if row.beside]
    assert [row.name for row in pairs] == [row.name for row in found if row.name.startswith("gateway")]
    for row in (*found, *pairs):
        for level in LEVELS:
            measured = await row.measure(level, warm=0.1, seconds=0.2)
            assert all(measured[key] > 0 for key in ("messages", "rate", "cpu", "load")), (row.name, measured)


@pytest.mark.process
async def test_rows_of_the_floor(tmp_path: Path) -> None:
    async with rows(tmp_path, ["floor"]) as found:
        await _measure_each(found, "floor")


@pytest.mark.process
async def test_rows_over_ip_and_what_they_send_arrives(tmp_path: Path) -> None:
    other = _copy(tmp_path / "other")
    async with rows(tmp_path, ["ip"], other) as found:
        assert (other.root / "gateway" / "ran").read_text() == "x"  # the gateway, and it alone, is of that folder
        await _measure_each(found, "ip")
        there = found[0].beside
        assert there is not None and there.pid != found[0].pid
        units = sum(row.load.events[-1]["units"] for row in found if "mqtt" in row.name)
        # one line for each unit, and one for each session that the gateway's clients opened
        assert _lines(tmp_path / "i" / "received", units + CLIENTS) == units + CLIENTS
        units = there.load.events[-1]["units"]
        assert _lines(tmp_path / "i2" / "received", units + CLIENTS) == units + CLIENTS


def _copy(root: Path) -> Checkout:
    """A checkout whose daemon leaves a mark when it runs."""
    for package in ("adapters", "carriage", "common", "gateway", "layer"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    with (root / "gateway" / "__init__.py").open("a") as file:
        file.write("\nimport pathlib, sys\nif 'run' in sys.argv:\n")
        file.write("    with pathlib.Path(__file__).with_name('ran').open('a') as mark:\n        mark.write('x')\n")
    return Checkout("other", root)


def _lines(path: Path, expected: int) -> int:
    """How many lines there are, once there are enough or too much time has passed."""
    until = time.monotonic() + 10
    while (found := len(path.read_text().split())) < expected and time.monotonic() < until:
        time.sleep(0.05)
    return found


@pytest.mark.process
async def test_rows_over_http_and_what_is_sent_to_the_broker_arrives(tmp_path: Path) -> None:
    async with rows(tmp_path, ["http"], HERE) as found:
        await _measure_each(found, "http")
        units = next(row for row in found if row.name == "gateway, https to mqtt").load.events[-1]["units"]
        handled = next(row for row in found if row.name == "aiohttp handler, paho").load.events[-1]["units"]
        # one line for each unit, and one for each session that the gateway's clients opened
        expected = units + handled + CLIENTS
        assert _lines(tmp_path / "hs" / "received", expected) == expected


@pytest.mark.process
async def test_a_client_in_a_long_poll_takes_little_more_than_at_aiohttp_and_needs_no_wake_up(tmp_path: Path) -> None:
    found = await long_polls(tmp_path, HERE, clients=100, seconds=1.0)
    ours, theirs = found["gateway"], found["aiohttp"]
    assert theirs["octets"] > 0 and ours["octets"] - theirs["octets"] < 60 * 1024
    assert ours["sleeps"] - ours["idle_sleeps"] < 5  # the daemon's own rounds; a timer for each poll would be 100


@pytest.mark.process
async def test_no_step_of_a_colour_fade_is_lost(tmp_path: Path) -> None:
    found = await fades(tmp_path, HERE, lamps=3, seconds=2.0, turns=1, warm=0.5, rate=2)
    assert [(each["steps"], each["lost"]) for each in found.values()] == [(4, 0), (12, 0)]
    assert all(0 < each["median"] <= each["p99"] and each["cpu"] > 0 for each in found.values())


@pytest.mark.process
async def test_rows_over_zigbee(tmp_path: Path) -> None:
    async with rows(tmp_path, ["zigbee"], HERE) as found:
        await _measure_each(found, "zigbee")


@pytest.mark.process
async def test_rows_of_a_house(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(site.stop)
        found = await over_house(site, exits, tmp_path, sensors=2, beside=HERE)
        assert {row.name for row in found} == NAMES["house"]
        pairs = [row.beside for row in found if row.beside]
        assert [row.name for row in pairs] == ["gateway, report to mqtt", "gateway, mqtt set to frame"]
        for row in (*found, *pairs):
            level = Level("rate", rate=50.0, devices=2)
            measured = await row.measure(level, warm=0.2, seconds=0.4)
            assert measured["messages"] > 0 and measured["cpu"] > 0, (row.name, measured)
            assert ("frame" in row.name) == (measured.get("latency", 0.0) > 0)
            if "frame" in row.name:  # without pauses there are many more
                closed = await row.measure(full(1), warm=0.2, seconds=0.4)
                assert closed["messages"] > measured["messages"] and closed["latency"] > 0


@pytest.mark.process
def test_starts_of_two_checkouts(tmp_path: Path) -> None:
    found = starts(tmp_path, (HERE, HERE), 1)
    assert [len(turns) for turns in found] == [1, 1]
    for (start,) in found:
        assert start["start"] > 0 and start["start_cpu"] > 0
        assert 2**20 < start["private"] <= start["pss"] <= start["rss"]


def test_micro_rows() -> None:
    found = calls(64)
    assert {"engine", "read_datagram", "coap decode", "coap encode"} < found.keys()
    for name, call in found.items():
        assert seconds_per_call(call, 50) > 0, name


@pytest.mark.parametrize("size", [64, 128, 1152])
def test_the_measured_octets_are_one_protected_record(size: int) -> None:
    octets = record(size, 7)
    assert len(octets) == size
    (header,) = read_datagram(octets)
    assert (header.content_type, header.epoch, header.sequence) == (APPLICATION_DATA, 1, 7)


def test_memory_grows_by_what_is_filled() -> None:
    before = memory(os.getpid())
    filled = b"x" * (64 << 20)
    after = memory(os.getpid())
    for key in ("private", "pss", "rss"):
        assert after[key] - before[key] == pytest.approx(len(filled), rel=0.1), key


def test_usage_is_the_cpu_of_the_process() -> None:
    before, known = usage(os.getpid()), time.process_time()
    while time.process_time() - known < 0.05:
        pass
    assert usage(os.getpid()).since(before).cpu == pytest.approx(time.process_time() - known, abs=0.02)


async def test_messages_that_never_end_are_counted_as_lost() -> None:
    waiting: list[Any] = []
    found = await measure(LoadSpec(in_flight=2, warm=0.0, seconds=0.05), waiting.append, drain=0.05)
    assert (found["messages"], found["lost"]) == (0, 2)


def test_ratios_are_taken_turn_by_turn() -> None:
    runs = {
        "gateway, coaps to mqtt": {"32 in flight": [{"cpu": 2.0}, {"cpu": 9.0}, {"cpu": 4.0}]},
        "mqtt publish, paho": {"20 in flight": [{"cpu": 1.0}, {"cpu": 3.0}, {"cpu": 1.0}]},
    }
    (found,) = report.ratios(runs)
    assert found["ratio"] == {"median": 3.0, "least": 2.0, "most": 4.0}


def test_the_command_writes_its_report(tmp_path: Path, capsys: Any) -> None:
    assert command.main(["--part", "micro", "--repeats", "1", "--calls", "50", "--save", "here"], tmp_path) == 0
    saved = json.loads((tmp_path / "here.json").read_text())
    assert saved["rows"]["engine"]["calls"]["cpu"]["median"] > 0
    assert saved["machine"]["zigpy"]
    (local,) = (tmp_path / "local").iterdir()
    assert json.loads(local.read_text()) == saved
    assert "engine" in capsys.readouterr().out


def test_a_failing_row_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    async def fail(*_: object) -> dict[str, Any]:
        raise ProcessFailedError("no such luck")

    monkeypatch.setattr(command, "run", fail)
    assert command.main(["--part", "ip", "--beside", "none"]) == 1
    assert "no such luck" in capsys.readouterr().err
