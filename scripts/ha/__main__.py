"""``make ha-test``: see ``scripts/ha-test``, which starts this."""

from __future__ import annotations

import os
import signal
import sys

from scripts.boot.machine import CanNotRunError, FailedError, fresh, prepare

PASSED, FAILED, CAN_NOT_RUN = 0, 1, 77
VERSION = os.environ.get("HA_VERSION", "2026.2.3")
"""The last one that runs with Debian 13's Python 3.13."""
PLACE = "/opt/home-assistant"
PACKAGES = "python3-venv python3-dev gcc g++ libc6-dev mosquitto mosquitto-clients git"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    try:
        root = fresh("13", prepare(), "ha")
        root.keep(f"home-assistant-{VERSION}", PLACE)
        root.clone()
        root.inside(
            f"apt-get update -qq; apt-get install -y -qq --no-install-recommends {PACKAGES} >/dev/null 2>&1;"
            " git init -q;"
            f"[ -e {PLACE}/installed ] || {{ python3 -m venv --clear {PLACE}/venv;"
            f" {PLACE}/venv/bin/pip install -q --prefer-binary homeassistant=={VERSION} 'paho-mqtt==2.1.0';"
            f" touch {PLACE}/installed; }}; sh scripts/setup demo"
        )
    except (CanNotRunError, FailedError) as error:
        sys.stdout.write(f"ha-test: can't run here: {error}\n")
        return CAN_NOT_RUN
    try:
        root.inside(f".venv/bin/python -m scripts.ha.scene {PLACE}/venv/bin/python /tmp/scene", stream=True)
    except FailedError:
        return FAILED
    return PASSED


if __name__ == "__main__":
    sys.exit(main())
