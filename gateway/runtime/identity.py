"""The identity of a gateway, which no file changes: its id, made once."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from common.replacing import replace

FILE: Final = "gateway-id"


def kept(state_dir: Path) -> str:
    """The gateway's id: 32 hex digits from a file of the state folder, which is written the first time.

    A file that holds anything else is replaced: a program that knew the gateway by its id then sees another one.
    """
    path = state_dir / FILE
    try:
        found = path.read_text(encoding="ascii").strip()
        if re.fullmatch(r"[0-9a-f]{32}", found):
            return found
    except (OSError, UnicodeDecodeError):
        pass
    made = secrets.token_hex(16)
    replace(path, made + "\n")
    return made
