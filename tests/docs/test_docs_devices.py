"""docs/devices.md is what the tables say now."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_as_the_tables_say() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "devices_page.py"))["page"]()
    assert (ROOT / "docs" / "devices.md").read_text() == page, "make devices-page writes it"
