"""``atls-gateway`` that counts its own Python calls: ``COUNT_FILE`` in the environment names where to.

SIGUSR1 begins (an empty file says so), SIGUSR2 ends (the file holds the number of calls). C functions don't count. The
store's regular transactions are put off, since how many of them fall into the time is the machine's doing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.cli.main import main
from gateway.runtime import store_keeper

_FILE = Path(os.environ["COUNT_FILE"])


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def begin(self, number: int, frame: FrameType | None) -> None:
        self.calls = 0
        sys.setprofile(self._profile)
        _FILE.touch()

    def end(self, number: int, frame: FrameType | None) -> None:
        sys.setprofile(None)
        _FILE.with_suffix(".new").write_text(str(self.calls))
        _FILE.with_suffix(".new").replace(_FILE)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1


if __name__ == "__main__":
    store_keeper.SOON = 3600.0
    counter = Counter()
    signal.signal(signal.SIGUSR1, counter.begin)
    signal.signal(signal.SIGUSR2, counter.end)
    main()
