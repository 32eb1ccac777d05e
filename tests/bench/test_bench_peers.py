"""The table and the chart of ``make bench-peers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from bench import peers, peers_page, peers_report, plot
from bench.checkout import BASELINE
from bench.hubs import CONFIG, MIXED, OurGateway, devices
from bench.peers_measure import _latency
from bench.peers_page import NAME
from bench.peers_report import GOALS, JUDGED, Goal, failures, losses, table
from demo.process import ProcessFailedError
from simulator.network.device_kinds import KINDS

ROOT = Path(__file__).parents[2]
PURE, BUILT = JUDGED


def turn(rate: float, published: float = 1.0) -> dict[str, float]:
    return {"rate": rate, "cpu": 1 / rate, "published": published}


FACTS = (
    "cpu",
    "cores",
    "kernel",
    "python",
    "node",
    "zigbee2mqtt",
    "zigbee-herdsman",
    "zigpy",
    "bellows",
    "paho-mqtt",
    "mosquitto",
    "commit",
)
TURNS = {
    "gateway": [turn(40.0), turn(60.0), turn(44.0)],
    "zigbee2mqtt": [turn(20.0), turn(20.0, 0.9), turn(22.0)],
    "bellows": [turn(70.0), turn(70.0), turn(70.0)],
}
RUNS: dict[str, Any] = {"reports, 10 devices, full": TURNS}


def test_a_ratio_is_taken_turn_by_turn_and_its_median_judged() -> None:
    (line,) = (each for each in table(RUNS) if each.goal.key == "rate")
    assert line.ratios == {PURE: (2.0, 2.0, 3.0)}
    assert (line.values["gateway"], line.verdict(PURE), line.verdict(BUILT)) == (44.0, "yes", "")


def test_pure_and_compiled_are_judged_each_and_both_are_compared_with_the_earlier_commit() -> None:
    hubs = {**TURNS, "compiled": [turn(30.0)] * 3, BASELINE: [turn(10.0)] * 3}
    runs: peers_report.Runs = {"reports, 10 devices, full": hubs}
    headings, line, *_ = peers_report.rows(runs)
    cells = dict(zip(headings, line, strict=True))
    assert (cells["gateway"], cells["compiled"], cells[BASELINE]) == ("44", "30", "10")
    assert (cells["compiled / zigbee2mqtt"], cells["met"]) == ("1.50 (1.36-1.50)", "yes, no")
    assert (cells[f"gateway / {BASELINE}"], cells[f"compiled / {BASELINE}"]) == ("4.40 (4.00-6.00)", "3.00")


def test_a_hub_that_was_left_out_has_no_column() -> None:
    headings, *_ = peers_report.rows({"reports, 10 devices, full": {"gateway": [turn(40.0)], "bellows": [turn(1.0)]}})
    assert headings == ("row", "unit", "gateway", "bellows", "goal", "met")


def test_what_failed_says_so_in_its_cell_and_counts_in_no_ratio() -> None:
    failed = {peers_report.FAILED: "not all devices are set up"}
    row = "join, 10 mains devices"
    runs: peers_report.Runs = {
        row: {
            "gateway": [{"seconds": 2.0}, {"seconds": 4.0}],
            "zigbee2mqtt": [failed, {"seconds": 4.0}],
            BASELINE: [failed] * 2,
        }
    }
    headings, line = peers_report.rows(runs)
    cells = dict(zip(headings, line, strict=True))
    assert (cells["zigbee2mqtt"], cells[BASELINE], cells["gateway / zigbee2mqtt"]) == ("4", "failed", "1.00")
    assert f"gateway / {BASELINE}" not in headings
    assert list(failures(runs)) == [
        f"{row}, zigbee2mqtt: failed in 1 of 2 turns: not all devices are set up",
        f"{row}, {BASELINE}: failed in 2 of 2 turns: not all devices are set up",
    ]


async def test_a_failure_of_one_hub_stops_no_other(tmp_path: Path) -> None:
    run = peers.Run(peers.options(["--part", "sets"]), [], tmp_path, 0, 0)

    async def fails() -> dict[str, float]:
        raise ProcessFailedError("the gateway ended\nlog\n")

    async def works() -> dict[str, float]:
        return {"rate": 1.0}

    await run._noted("set", BASELINE, fails)
    await run._noted("set", "gateway", works)
    assert run.found == {"set": {BASELINE: [{"failed": "the gateway ended"}], "gateway": [{"rate": 1.0}]}}


def test_what_the_processes_took_of_the_machine_is_below_the_table() -> None:
    shares = {"share of hub": 0.25, "share of dongle": 0.3, "share of broker": 0.1, "share of subscriber": 0.05}
    (line,) = peers_report.shares({"reports, 10 devices, full": {"gateway": [shares]}})
    assert line == ("reports, 10 devices, full", "gateway", "25", "30", "10", "5", "30")


def test_progress_says_what_is_done_and_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = peers.RunProgress(2)
    progress.next("first")
    progress.next("second")
    said = capsys.readouterr().err
    assert "[1 of 2] first" in said and "[2 of 2, less than a minute left] second" in said


def test_gateways_at_one_broker_do_not_take_each_others_sessions_over() -> None:
    mqtt = [
        yaml.safe_load(CONFIG.format(dongle="d", broker=1, base=base))["adapters"]["mqtt"] for base in ("gateway", "b")
    ]
    assert mqtt[0]["client_id"] != mqtt[1]["client_id"]


def test_hubs_that_are_left_out_are_not_made() -> None:
    with peers.contenders(["compiled", BASELINE, "zigbee2mqtt"]) as hubs:
        assert [each.name for each in hubs] == ["gateway", "bellows"]


@pytest.mark.parametrize(
    ("bound", "least", "ratio", "met"),
    [
        (1.5, False, 1.6, False),
        (1.5, False, 1.5, True),
        (1.8, True, 1.7, False),
        (1.8, True, 1.8, True),
        (None, False, 9, None),
    ],
)
def test_a_goal_is_a_bound_from_one_side(bound: float | None, least: bool, ratio: float, met: bool | None) -> None:
    assert Goal("row", "key", "s", 1, bound, least=least).met(ratio) is met


def test_what_was_lost_is_said() -> None:
    lost = {"set": {"gateway": [{"rate": 1.0, "lost": 0}, {"rate": 1.0, "lost": 3}]}}
    assert list(losses(lost)) == ["set, gateway: 0, 3 sets did not reach their lamps"]
    (line,) = losses(RUNS)
    assert line.startswith("reports, 10 devices, full, zigbee2mqtt: 0.900 to 1.000 publications")


def test_the_time_of_a_stamped_report_comes_round_after_two_seconds() -> None:
    assert _latency(100.0015, 0.0) == pytest.approx(0.0015)
    assert _latency(102.0005, 199.95) == pytest.approx(0.001)  # sent at 101.9995


def test_every_goal_has_another_line() -> None:
    assert len({(goal.row, goal.key) for goal in GOALS}) == len(GOALS)


def test_a_chart_has_a_bar_for_each_line_and_a_mark_for_each_goal() -> None:
    hubs = {**TURNS, "compiled": TURNS["bellows"]}
    lines = [each for each in table(dict.fromkeys(RUNS, hubs)) if each.goal.bound]
    tree = ElementTree.fromstring(plot.svg(lines))  # noqa: S314 - our own text
    kinds = [each.tag.rpartition("}")[2] for each in tree.iter()]
    assert kinds.count("rect") == 2 * len(lines) and kinds.count("line") == len(lines) + 1


def test_a_saved_result_is_shown_and_drawn(tmp_path: Any, capsys: Any) -> None:
    facts = dict.fromkeys([*FACTS], "x")
    report = {"machine": facts, "load_average": [0.0, 0.0], "repeats": 3, "runs": RUNS}
    (tmp_path / "one.json").write_text(json.dumps(report))
    assert peers.main(["--show", "one"], tmp_path) == 0
    assert (
        "| reports, 10 devices, full | /s | 44 | 20 | 70 | 2.00 (2.00-3.00) | >= 1.80 | yes |"
        in capsys.readouterr().out
    )
    assert plot.main(["one"], tmp_path) == 0
    assert (tmp_path / "one.svg").read_text().startswith("<svg")
    with pytest.raises(SystemExit):
        plot.main(["two"], tmp_path)
    assert "no result two in " in (said := capsys.readouterr().err) and "there are one" in said
    assert "\n".join(peers_report.lines(report))


def test_the_page_shows_the_saved_run_and_the_chart_is_of_it() -> None:
    saved = json.loads((ROOT / "bench" / "results" / f"{NAME}.json").read_text())
    page = peers.PAGE.read_text()
    assert peers_page.written(page, saved) == page
    assert (ROOT / "bench" / "results" / f"{NAME}.svg").read_text() == plot.svg(table(saved["runs"]))


def test_another_run_takes_the_place_of_the_one_on_the_page() -> None:
    report = {"machine": dict.fromkeys(FACTS, "x"), "load_average": [0.0, 0.0], "repeats": 3, "seconds": 1.5}
    report |= {"date": "2026-01-02T03:04", "runs": RUNS}
    page = peers_page.written("# Speed\n\n## One run\n\nold\n\n| old |\n\nReading it:\n\n- what it says\n", report)
    assert page.startswith("# Speed\n\n## One run\n\n2026-01-02; x, x cores") and page.endswith("\n- what it says\n")
    assert "old" not in page and "| reports, 10 devices, full | /s | 44 | 20 | 70 |" in page


def test_the_home_has_200_devices_that_need_no_person_to_pair() -> None:
    assert sum(MIXED.values()) == len({each.eui64 for each in devices(**MIXED)}) == 200
    assert set(MIXED) == {
        kind.name for kind in KINDS.values() if kind.endpoints and not kind.product
    } - {"poll-sensor", "water-sensor", "panic-button"}  # fmt: skip


def test_a_hub_takes_no_part_in_rows_of_what_it_does_not_read() -> None:
    old, ours = (peers.Contender(name, OurGateway) for name in (BASELINE, "gateway"))
    assert not peers._takes_part(old, peers.ALL_REPORT) and peers._takes_part(ours, peers.ALL_REPORT)
    assert peers._takes_part(old, "reports, 10 devices, full")
