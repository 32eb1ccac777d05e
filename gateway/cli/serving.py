"""The daemon as a command: its config, and the exit code that its end becomes. What is imported here stays in its
memory."""

from __future__ import annotations

import gc
import os

from gateway.cli.codes import BAD_CONFIG, FAILED, RESTART, fail
from gateway.runtime.config_source import InvalidConfigError, config_path


def serve(config: str | None) -> None:
    """Run the daemon until it ends."""
    gc.disable()  # imports make much and leave nothing to collect; once it serves, the daemon enables it again
    from gateway.runtime import daemon

    try:
        if daemon.run(config_path(config, os.environ), os.environ):
            raise SystemExit(RESTART)
    except KeyboardInterrupt:  # before it takes signals
        fail(FAILED, "stopped before it served")
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)
