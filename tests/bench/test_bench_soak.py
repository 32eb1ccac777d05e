"""The soak: what it calls flat, that it runs, and that it notices a gateway that keeps something of each message."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import soak
from bench.checkout import Checkout, CheckoutStack
from bench.scenario import ROOT
from bench.soak import NOISE, MemorySample, judge

MIB = 1 << 20
MESSAGES = 4000


def samples(each: float, *, noise: int = 0, messages: int = 1_000_000) -> list[MemorySample]:
    """Of a gateway that keeps ``each`` octets of a message, and ``noise`` more at every second sample."""
    return [
        MemorySample(done, round(40 * MIB + each * done + noise * (number % 2)))
        for number, done in enumerate(range(messages // 10, messages + 1, messages // 20))
    ]


@pytest.mark.parametrize(
    ("each", "noise", "flat"), [(0.0, 0, True), (0.0, 2 * MIB, True), (0.5, 0, True), (2.0, 0, False), (100, 0, False)]
)
def test_a_million_messages_may_not_leave_an_octet_each(each: float, noise: int, flat: bool) -> None:
    assert judge(samples(each, noise=noise)).flat is flat


def test_a_short_run_may_grow_by_what_python_takes_at_a_time() -> None:
    assert judge(samples(NOISE / MESSAGES, messages=MESSAGES)).flat
    assert not judge(samples(4 * NOISE / MESSAGES, messages=MESSAGES)).flat


@pytest.mark.process
def test_a_soak_prints_its_samples_and_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--messages", str(MESSAGES), "--way", "coaps", "--save", "one"], tmp_path) == 0
    printed = capsys.readouterr()
    kept = json.loads((tmp_path / "one.json").read_text())["samples"]["coaps"]
    assert f"coaps: {kept[-1][0]:>8} messages, {kept[-1][1] / MIB:7.2f} MiB private" in printed.out
    assert f"| coaps | {kept[-1][0]} |" in printed.out and "| yes |" in printed.out
    assert kept[-1][0] >= MESSAGES and len(kept) >= 2
    assert f"of {MESSAGES} messages" in printed.err


class Leaking(Checkout):
    """This checkout, with a gateway that leaks."""

    def program(self) -> list[str]:
        return [sys.executable, "-P", str(ROOT / "tests" / "harness" / "leaking_gateway.py")]


@pytest.mark.process
async def test_a_gateway_that_keeps_something_of_each_message_is_not_flat(tmp_path: Path) -> None:
    stack = CheckoutStack(tmp_path / "s", checkout=Leaking("leaking", ROOT))
    assert not judge(await soak.soak("coaps", MESSAGES, tmp_path, stack)).flat


def test_the_page_has_the_table_of_the_saved_run() -> None:
    saved = json.loads((ROOT / "bench" / "results" / "soak-million.json").read_text())
    found = {name: [MemorySample(*each) for each in rows] for name, rows in saved["samples"].items()}
    assert "\n".join(soak.page(found)) in (ROOT / "docs" / "bench.md").read_text()
    assert saved["machine"]["commit"].removesuffix("-dirty") in (ROOT / "docs" / "bench.md").read_text()


def test_too_few_messages_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.options(["--messages", "10"])
    assert "at least 1000" in capsys.readouterr().err
