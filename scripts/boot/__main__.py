"""``make boot-test``: see ``scripts/boot-test``, which starts this."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.boot import checks
from scripts.boot.machine import SUITES, CanNotRunError, FailedError, booted, fresh, prepare

PASSED, FAILED, CAN_NOT_RUN = 0, 1, 77


class _Tally:
    def __init__(self, debian: str) -> None:
        self.debian, self.passed, self.failed = debian, 0, 0

    def tell(self, check: Callable[[Any], None], on: Any, journal: Callable[[], str]) -> bool:
        """Run one check and print its line; what the machine said last, if it failed."""
        began = time.monotonic()
        name = check.__name__.replace("_", " ")
        try:
            check(on)
        except CanNotRunError:
            raise
        except Exception as error:  # a check that stumbles has failed as well
            self.failed += 1
            why = str(error) if isinstance(error, FailedError) else traceback.format_exc()
            sys.stdout.write(f"Debian {self.debian}: FAILED  {name}\n  {why.replace(chr(10), chr(10) + '  ')}\n")
            sys.stdout.write("  " + journal().replace("\n", "\n  ") + "\n")
            return False
        self.passed += 1
        sys.stdout.write(f"Debian {self.debian}: ok      {name} ({time.monotonic() - began:.1f} s)\n")
        sys.stdout.flush()
        return True


def run(debian: str, cache: Path) -> _Tally:
    tally = _Tally(debian)
    root = fresh(debian, cache, "boot")
    root.clone()
    if not all(tally.tell(check, root, lambda: "") for check in checks.INSTALLING):
        return tally
    with booted(root) as machine:

        def journal() -> str:
            try:
                return machine.run(
                    "journalctl --no-pager -n 40 -o short-precise -u atls-gateway -u simulator -u mosquitto"
                )
            except FailedError as error:
                return str(error)

        for check in checks.BOOTED:
            if not tally.tell(check, machine, journal) and check is checks.started_as_readme_says:
                break  # all else would fail for the same reason
    return tally


def main(arguments: list[str]) -> int:
    if unknown := [name for name in arguments if name not in SUITES]:
        sys.stdout.write(f"boot-test: expected Debian releases of {', '.join(SUITES)}, not {' '.join(unknown)}\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # so that what is booted ends too
    passed = failed = 0
    try:
        cache = prepare()
        for debian in arguments or SUITES:
            tally = run(debian, cache)
            passed, failed = passed + tally.passed, failed + tally.failed
    except CanNotRunError as error:
        sys.stdout.write(f"boot-test: can't run here: {error}\n")
        return FAILED if failed else CAN_NOT_RUN
    sys.stdout.write(f"boot-test: {passed} passed, {failed} failed\n")
    return FAILED if failed else PASSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
