"""Where the result of a run is kept: a dated file for each, and one by name if that was asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(found: Mapping[str, Any], results: Path, prefix: str, save: str | None) -> None:
    """Write a run below ``results``, dated in ``local`` and named ``save`` beside that, and print each path."""
    local = results / "local"
    local.mkdir(parents=True, exist_ok=True)
    places = [local / f"{prefix}{found['date'].replace(':', '')}.json"]
    if save:
        places.append(results / f"{save}.json")
    for place in places:
        place.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {os.path.relpath(place)}")
