"""The command that is the daemon. What is imported here stays in the daemon's memory."""

from __future__ import annotations

import gc
import os

import click

from gateway.cli.asking import config_option, print_lines
from gateway.cli.codes import BAD_CONFIG, EPILOG, RESTART, fail
from gateway.runtime.config_source import InvalidConfigError, config_path


@click.command(epilog=EPILOG)
@config_option
@click.option("--dry-run", is_flag=True, help="Check all that a start needs, say what would run, and end.")
def run(config: str | None, dry_run: bool) -> None:
    """Run the gateway in the foreground.

    SIGTERM and Ctrl-C stop it in good order. SIGHUP, or `atls-gateway reload`, checks the config again and puts in
    force what can be changed while it runs; what takes a restart is named. Under systemd it notifies when it serves,
    and that it's healthy.

    \b
    Run in the foreground with more to read:
      ATLS_GATEWAY__GATEWAY__LOG_LEVEL=debug atls-gateway run -c gateway.yaml
    Would it start? (reads the config, the policy, the credentials and the state folder; opens no link)
      atls-gateway run --dry-run -c gateway.yaml
    """
    gc.disable()  # imports make much and leave nothing to collect; once it serves, the daemon enables it again
    from gateway.runtime import daemon

    path = config_path(config, os.environ)
    try:
        if dry_run:
            print_lines(daemon.rehearsal(path, os.environ))
        else:
            if daemon.run(path, os.environ):
                raise SystemExit(RESTART)
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)


COMMANDS: tuple[click.Command, ...] = (run,)
