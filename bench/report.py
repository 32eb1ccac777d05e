"""The results of a run, as JSON and as a table: medians over the repetitions with their spread, ratios within a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from bench import beside

RATIOS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gateway, coaps to mqtt", ("mqtt publish, paho",)),
    ("gateway, coaps to mqtt", ("coaps server, ours", "mqtt publish, ours")),
    ("gateway, coaps to mqtt", ("udp echo, drain",)),
    ("gateway, coaps to https", ("aiohttp post",)),
    ("gateway, https to mqtt", ("aiohttp handler, paho",)),
    ("mqtt publish, ours", ("mqtt publish, paho",)),
    ("coaps server, ours", ("coap server, aiocoap",)),
    ("udp echo, protocol", ("udp echo, drain",)),
    ("gateway, zigbee to coaps", ("bellows",)),
    ("gateway, report to mqtt", ("zigpy, attribute",)),
    ("gateway, report to mqtt", ("bellows, bare hook",)),
    ("bellows, bare hook", ("zigpy, attribute",)),
    ("gateway, mqtt set to frame", ("bellows, call to frame",)),
    ("engine", ("udp echo, drain",)),
    ("coap decode", ("aiocoap decode",)),
    ("coap encode", ("aiocoap encode",)),
)
"""A row, and the peers whose CPU per message together it is divided by."""

Runs = dict[str, dict[str, list[dict[str, float]]]]
"""Row, level of load, repetitions."""


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)}


def summary(runs: Runs) -> dict[str, Any]:
    """Per row and level: CPU per message, messages per second, wake-ups per message."""
    return {
        name: {
            level: {
                key: spread([each[key] for each in found])
                for key in ("cpu", "rate", "sleeps", "latency")
                if key in found[0]
            }
            for level, found in levels.items()
        }
        for name, levels in runs.items()
    }


def ratios(runs: Runs) -> list[dict[str, Any]]:
    """CPU per message of a row over that of its peers, repetition by repetition; levels in their order."""
    found = []
    for name, peers in RATIOS:
        if name not in runs or any(peer not in runs for peer in peers):
            continue
        for index, (level, mine) in enumerate(runs[name].items()):
            theirs = [list(runs[peer].values()) for peer in peers]
            key = "latency" if "latency" in mine[0] else "cpu"
            values = [
                each[key] / sum(levels[min(index, len(levels) - 1)][turn][key] for levels in theirs)
                for turn, each in enumerate(mine)
            ]
            found.append({"row": name, "peers": list(peers), "level": level, "of": key, "ratio": spread(values)})
    return found


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    machine = report["machine"]
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}"
    versions = ("openssl", "mosquitto", "zigpy", "bellows", "paho-mqtt", "aiocoap", "cryptography", "commit")
    yield ", ".join(f"{name} {machine[name]}" for name in versions)
    load = report["load_average"]
    yield f"load average {load[0]:.1f} before and {load[1]:.1f} after, {report['repeats']} repetitions in turns"
    yield ""
    head = f"{'row':26} {'octets':>6} {'load':>13} {'CPU us/message (least-most)':>29} {'messages/s':>11} {'sleeps':>7}"
    yield head
    yield "-" * len(head)
    for name, levels in report["rows"].items():
        for level, found in levels.items():
            cpu = found["cpu"]
            figure = f"{_us(cpu['median'])} ({_us(cpu['least'])}-{_us(cpu['most'])})"
            rate = f"{found['rate']['median']:.0f}" if "rate" in found else ""
            sleeps = f"{found['sleeps']['median']:.2f}" if "sleeps" in found else ""
            figure = _latency(found) or figure
            yield f"{name:26} {report['octets'][name]:6} {level:>13} {figure:>29} {rate:>11} {sleeps:>7}"
    yield ""
    yield from _memory(report)
    yield from beside.lines(report)
    yield "CPU per message in relation (median, least-most of the repetitions)"
    for each in report["ratios"]:
        ratio = each["ratio"]
        names = f"{each['row']} / {' + '.join(each['peers'])}"
        yield f"  {names:72} {each['level']:>13} {ratio['median']:6.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"


def _memory(report: Mapping[str, Any]) -> Iterator[str]:
    memory = report.get("memory")
    if memory:
        before, after = memory["idle"] / 2**20, memory["after"] / 2**20
        yield f"memory of the gateway: {before:.1f} MiB idle, {after:.1f} MiB after {memory['reports']:.0f} reports"
        yield ""
    for name, held in report.get("long_polls", {}).items():
        yield (
            f"long polls, {name}: {held['octets'] / 1024:.0f} KiB a client; each second without, with them: "
            f"{held['idle_sleeps']:.1f}, {held['sleeps']:.1f} wake-ups, "
            f"{held['idle_cpu'] * 1e3:.2f}, {held['cpu'] * 1e3:.2f} ms of CPU"
        )
        yield ""
    for name, one in report.get("fades", {}).items():
        yield (
            f"colour fade, {name}: {one['steps']:.0f} steps, {one['lost']:.0f} lost, "
            f"median {one['median'] * 1e3:.1f} ms, 99 of 100 within {one['p99'] * 1e3:.1f} ms, "
            f"{one['cpu'] * 1e6:.0f} us of CPU a step"
        )
        yield ""
    if "start" in report:
        start = {key: each["median"] for key, each in report["start"].items()}
        held = ", ".join(f"{name} {start[key] / 2**20:.1f} MiB" for key, name in (("pss", "PSS"), ("rss", "RSS")))
        yield f"start of the gateway: ready after {start['start']:.2f} s, {start['start_cpu']:.2f} s of CPU, {held}"
        yield ""


def page(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables of docs/bench.md."""
    yield "| row | octets | load | CPU us/message (least-most) | messages/s | sleeps/message |"
    yield "|---|---|---|---|---|---|"
    for name, levels in report["rows"].items():
        for level, found in levels.items():
            cpu = found["cpu"]
            figure = f"{_us(cpu['median'])} ({_us(cpu['least'])}-{_us(cpu['most'])})"
            rate = f"{found['rate']['median']:.0f}" if "rate" in found else ""
            sleeps = f"{found['sleeps']['median']:.2f}" if "sleeps" in found else ""
            figure = _latency(found) or figure
            yield f"| {name} | {report['octets'][name]} | {level} | {figure} | {rate} | {sleeps} |"
    yield ""
    yield from _memory(report)
    yield "| CPU per message of | over that of | load | ratio (least-most) |"
    yield "|---|---|---|---|"
    for each in report["ratios"]:
        ratio = each["ratio"]
        figure = f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"
        yield f"| {each['row']} | {' + '.join(each['peers'])} | {each['level']} | {figure} |"
    yield from beside.page(report)


def _latency(found: Mapping[str, Any]) -> str:
    """The time of one message, if that is what a row is about."""
    if "latency" not in found:
        return ""
    latency = found["latency"]
    return f"takes {_us(latency['median'])} ({_us(latency['least'])}-{_us(latency['most'])})"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}" if seconds < 1e-4 else f"{seconds * 1e6:.0f}"
