"""For all tests: the long ones first.

With one file for one worker after the other, a long file that comes last leaves the other workers idle.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LONG = ("e2e", "bench", "adapters", "simulator")
"""Folders whose files start real processes and take longest, the longest first."""

_TESTS = Path(__file__).parent


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(_TESTS).parts[0]
    return LONG.index(folder) if folder in LONG else len(LONG)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)
