"""docs/round-trips.md against a real run of OpenSSL's part; SunJSSE's is in tests/peers."""

from __future__ import annotations

import ssl

import pytest

from bench import round_trips
from bench.round_trips import Table
from bench.round_trips_site import Trips, halves
from tests.harness.docs_page import DOCS, read

BEST = {"TLS 1.3, PSK": "1 / 1.5 / 2", "DTLS 1.2, PSK": "2 / 2 / 3"}
SAME_OPENSSL = ssl.OPENSSL_VERSION_INFO[:2] == (3, 0)
"""As the distribution's by which the page's last table was counted. The ClientHello of 3.5 has a post-quantum key share
and takes more blocks of CoAP, on which the cells of that column depend; those of HTTP don't."""


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    return round_trips.count(*round_trips.OF_OPENSSL)


def test_another_run_counts_the_same(tables: list[Table]) -> None:
    page = read("round-trips.md")
    for table in tables:
        head, *rows = table
        if SAME_OPENSSL or head[0] != "OpenSSL, TLS 1.3":
            assert round_trips.lines(table) in page.text, "make it true: python -m bench.round_trips --write"
        else:
            assert [row[:2] for row in rows] == [row[:2] for row in page.rows(head[0])]


def test_no_carriage_costs_our_handshake_a_round_trip_more_than_tls_itself(tables: list[Table]) -> None:
    head, *rows = tables[0]
    for row in rows:
        if row[0] in BEST:
            found = dict(zip(head, row, strict=True))
            for hop in ("HTTP", "HTTP to the gateway", "HTTP from the gateway", "CoAP to the gateway"):
                assert found[hop] == BEST[row[0]], (row[0], hop)


def test_the_words_about_what_was_before_have_the_numbers_of_now(tables: list[Table]) -> None:
    head, *rows = tables[0]
    now = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    hops = ("HTTP", "HTTP to the gateway", "CoAP to the gateway", "CoAP from the gateway")
    before = read("round-trips.md").rows("handshake", "Before")
    for name, *cells in before:
        for hop, cell in zip(hops, cells, strict=True):
            assert now[name][hop].rpartition(" / ")[2] == cell.rpartition("now ")[2], (name, hop)


def test_a_time_that_is_no_number_of_trips_is_not_rounded_to_one() -> None:
    assert [halves(each) for each in (1.0, 1.5002, 2.96)] == [1.0, 1.5, 3.0]
    with pytest.raises(RuntimeError, match="waited for a timer"):
        halves(2.3)


def test_the_command_writes_this_page() -> None:
    assert round_trips.PAGE == DOCS / "round-trips.md"
    page = "a\n| x | y |\n|---|---|\n| 1 | 2 |\n\nb\n"
    assert round_trips.put_into(page, [["x", "y"], ["3", "4"]]) == page.replace("| 1 | 2 |", "| 3 | 4 |")
    assert round_trips.cell(Trips(1.0, 1.5, 2.0, (1, 1))) == "1 / 1.5 / 2"
    with pytest.raises(SystemExit, match="expected one table"):
        round_trips.put_into(page, [["other"]])
