"""``atls-gateway`` that counts what its main thread does: ``COUNT_FILE`` in the environment names where to. With
``-m MODULE`` it is that program, such as one of aiohttp alone.

SIGUSR1 begins (an empty file says so), SIGUSR2 ends: the file then holds, as JSON, the calls of Python functions
(``calls``), those of them that are an ``__init__`` (``objects``), the turns of the loop (``turns``), and the calls by
module (``modules``). Functions written in C don't count. It imports nothing of this checkout's ``bench``, so that it
also counts the gateway of an older one (``bench.counts --beside``).
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_FILE = Path(os.environ["COUNT_FILE"])
_TURN = "BaseEventLoop._run_once"


class CallCounter:
    """Between two signals, counts calls by the code that is called: cheap enough to leave the load as it is."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, CodeType]] = Counter()

    def begin(self, number: int, frame: FrameType | None) -> None:
        self._calls.clear()
        _FILE.touch()
        sys.setprofile(self._profile)

    def end(self, number: int, frame: FrameType | None) -> None:
        sys.setprofile(None)
        unfinished = _FILE.with_suffix(".new")
        unfinished.write_text(json.dumps(self.result()))
        unfinished.replace(_FILE)

    def result(self) -> dict[str, Any]:
        modules: Counter[str] = Counter()
        for (module, _), calls in self._calls.items():
            modules[module] += calls
        return {
            "calls": modules.total(),
            "objects": sum(calls for (_, code), calls in self._calls.items() if code.co_name == "__init__"),
            "turns": sum(calls for (_, code), calls in self._calls.items() if code.co_qualname == _TURN),
            "modules": dict(modules),
        }

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._calls[frame.f_globals.get("__name__", "?"), frame.f_code] += 1


def run() -> None:
    if sys.argv[1] == "-m":
        _, _, module, *_ = sys.argv
        sys.argv[:3] = [module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    try:
        from gateway.cli.main import main
    except ModuleNotFoundError:  # of an older checkout
        from gateway.cli import main  # type: ignore[assignment]
    main()


if __name__ == "__main__":
    counter = CallCounter()
    signal.signal(signal.SIGUSR1, counter.begin)
    signal.signal(signal.SIGUSR2, counter.end)
    run()
