"""``make test-debian13``: see ``scripts/test-debian13``, which starts this with a release and some targets."""

from __future__ import annotations

import os
import signal
import sys
import time

from scripts.boot.machine import CanNotRunError, FailedError, fresh, prepare

PASSED, FAILED, CAN_NOT_RUN = 0, 1, 77


def main(debian: str, *targets: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    try:
        root = fresh(debian, prepare(), "make")
        root.clone()
        root.inside(
            "apt-get update -qq; apt-get install -y -qq --no-install-recommends make git >/dev/null 2>&1; git init -q"
        )
    except (CanNotRunError, FailedError) as error:
        sys.stdout.write(f"test-debian{debian}: can't run here: {error}\n")
        return CAN_NOT_RUN
    environ = {name: os.environ[name] for name in ("PYTEST_ARGS",) if name in os.environ}
    for target in targets:
        began = time.monotonic()
        try:
            root.inside(f"make {target}", environ=environ, stream=True)
        except FailedError as error:
            sys.stdout.write(f"test-debian{debian}: FAILED  make {target}: {error}\n")
            return FAILED
        sys.stdout.write(f"test-debian{debian}: ok      make {target} ({time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()
    return PASSED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
