"""For all tests: the long ones first, no property fails since the machine was busy, a run in the background has SIGINT,
and ``make test-compiled`` tests what it compiled.

With one file for one worker after the other, a long file that comes last leaves the other workers idle.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LONG = ("e2e", "bench", "adapters", "simulator")
"""Folders whose files start real processes and take longest, the longest first."""

_TESTS = Path(__file__).parent

# Hypothesis's own limits are of wall time: 0.2 s for an example, a second for making ten.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure() -> None:
    # A shell ignores it in what it starts with &, and Python leaves it so, here and in all processes that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    if os.environ.get("TEST_COMPILED") == "1":
        from tests.harness.compiled_build import interpreted_modules

        if found := interpreted_modules():
            pytest.exit(f"to be tested compiled, but loaded from Python: {', '.join(found)}", returncode=1)


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(_TESTS).parts[0]
    return LONG.index(folder) if folder in LONG else len(LONG)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)
