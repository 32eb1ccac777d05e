"""The audit trail: one line a decision, bounded under a flood, nothing lost in the counts."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.model import EnvelopeId, Reason, SessionId
from gateway.engine.outputs import Audit
from gateway.runtime.audit import AuditLog

REFUSED = Audit("refused", Reason.DENIED, "default", EnvelopeId(7), SessionId("ab" * 16), "phone")


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.INFO, "gateway.audit")


def test_a_line_says_what_was_decided_about_which_envelope(caplog):
    AuditLog().record(REFUSED, now=0.0)
    assert caplog.messages == [f"refused: denied envelope=7 session={'ab' * 16} subject=phone rule=default"]


def test_a_refusal_names_all_that_the_missing_rule_would(caplog):
    entry = Audit("refused", Reason.DENIED, "default", subject="cloud", action="open", resource="lamp\n" + "x" * 100)
    AuditLog().record(entry, now=0.0)
    shown = "lamp?" + "x" * 58 + "\u2026"
    assert caplog.messages == [f"refused: denied subject=cloud action=open resource={shown} rule=default"]


@pytest.mark.parametrize(
    ("kind", "reason", "level"),
    [
        ("dropped", Reason.CLOSED, "INFO"),
        ("closed", Reason.CLOSED, "INFO"),
        ("refused", Reason.CLOSED, "INFO"),
        ("refused", Reason.UNKNOWN, "INFO"),
        ("dropped", Reason.UNREACHABLE, "WARNING"),
        ("refused", Reason.DENIED, "WARNING"),
    ],
)
def test_an_orderly_end_is_no_warning(caplog, kind, reason, level):
    AuditLog().record(Audit(kind, reason, subject="phone"), now=0.0)
    assert [record.levelname for record in caplog.records] == [level]


def test_text_of_a_peer_can_not_forge_a_line(caplog):
    AuditLog().record(REFUSED._replace(subject="eve\nrefused: nothing\x1b[2J" + "x" * 500), now=0.0)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isprintable()
    assert len(caplog.messages[0]) < 350


def test_a_flood_is_bounded_and_counted(caplog):
    log = AuditLog(lines=5, interval=60.0)
    for n in range(10_000):
        log.record(REFUSED, now=n * 0.001)
    log.record(Audit("opened", None, "r", EnvelopeId(8)), now=10.0)  # another kind has its own share
    assert len(caplog.messages) == 4
    log.tick(now=59.0)
    assert len(caplog.messages) == 4
    log.tick(now=60.0)
    assert caplog.messages[4:] == ["held back 9997 more lines: refused: denied x 9997"]
    assert log.total == {"refused: denied": 10_000, "opened": 1}


def test_a_flood_over_many_intervals_has_a_bounded_number_of_lines(caplog):
    log = AuditLog(lines=5, interval=60.0)
    for n in range(6_000):
        log.record(REFUSED, now=n * 0.1)  # ten minutes
    log.flush()
    assert len(caplog.messages) == 10 * 3 + 10


def test_the_flood_of_one_subject_leaves_lines_for_others(caplog):
    log = AuditLog(lines=60)
    for _ in range(1000):
        log.record(REFUSED, now=0.0)
    for n in range(5):
        log.record(REFUSED._replace(subject=f"other{n}"), now=1.0)
    assert len(caplog.messages) == 31 + 5
    assert [message for message in caplog.messages if "other4" in message]


@given(st.lists(st.tuples(st.floats(0, 1000), st.sampled_from(["refused", "dropped", "opened"])), max_size=60))
def test_every_decision_is_a_line_or_counted(steps):
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("gateway.audit")
    logger.addHandler(handler)
    try:
        log = AuditLog(lines=2, interval=60.0)
        for now, kind in sorted(steps):
            log.record(Audit(kind), now=now)
        log.flush()
    finally:
        logger.removeHandler(handler)
    held_back = sum(int(line.split()[2]) for line in lines if line.startswith("held back"))
    assert sum(not line.startswith("held back") for line in lines) + held_back == len(steps)
