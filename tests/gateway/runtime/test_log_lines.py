"""What the daemon's log lets through, and in which form: read from a real standard error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
import logging, os
from gateway.runtime import logs
logs.configure({level!r}, os.environ)
say = logging.getLogger({name!r})
try:
    1 / 0
except ZeroDivisionError as error:
    say.log(logging.{severity}, "said %s", "one\\nforged\\x1b[2J", exc_info={traceback})
"""


def logged(level="info", name="gateway.x", severity="INFO", traceback=False, stderr=subprocess.PIPE, **environ) -> str:
    code = CODE.format(level=level, name=name, severity=severity, traceback=traceback)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)} | environ, stderr=stderr, text=True, check=True
    )
    return done.stderr


def test_a_record_is_one_line_whatever_it_holds():
    assert logged().endswith(" INFO gateway.x: said one?forged?[2J\n")


def test_a_traceback_is_indented_below_its_line():
    lines = logged(severity="ERROR", traceback=True).splitlines()
    assert lines[0].endswith("ERROR gateway.x: said one?forged?[2J")
    assert lines[1] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize(
    ("level", "name", "severity", "seen"),
    [
        ("info", "gateway.x", "DEBUG", False),
        ("debug", "adapters.coap", "DEBUG", True),
        ("debug", "carriage.x", "DEBUG", True),
        ("debug", "bellows.ezsp", "DEBUG", False),  # these write frames, and with them network keys
        ("debug", "zigpy.application", "INFO", False),
        ("debug", "zigpy.application", "WARNING", True),
        ("error", "gateway.runtime", "WARNING", False),
        ("error", "gateway.audit", "WARNING", True),
        ("warning", "gateway.audit", "INFO", False),
    ],
)
def test_each_logger_is_seen_at_its_level(level, name, severity, seen):
    assert bool(logged(level, name, severity)) is seen


@pytest.mark.parametrize(
    ("severity", "mark"), [("DEBUG", "<7>"), ("INFO", "<6>"), ("WARNING", "<4>"), ("ERROR", "<3>")]
)
def test_the_journal_gets_a_priority_on_each_line_and_no_time(severity, mark):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        logged("debug", severity=severity, traceback=True, stderr=theirs, **stream)
        lines = ours.recv(65536).decode().splitlines()
    assert lines[0] == f"{mark}gateway.x: said one?forged?[2J"
    assert all(line.startswith(mark) for line in lines)
