"""The command that has the running daemon end and start again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.asking import config_option, json_option, print_json, question
from gateway.cli.codes import EPILOG

_WHO: Final = {
    "itself": "it starts itself again",
    "service manager": "its service manager (systemd, the container's restart policy) starts it again",
}


@click.command(epilog=EPILOG)
@config_option
@json_option
def restart(config: str | None, as_json: bool) -> None:
    """Have the daemon end in good order and start again.

    Sessions, last values and what waits for sleeping devices are kept, as at any restart. Under systemd and in a
    container it ends with exit code 75, upon which they start it again; else it starts itself again, in the
    same process. For most changes of the config a reload is enough: it says which ones need this.

    It goes on as it is if its files have mistakes, and reports them: it would not start again.

    \b
      atls-gateway restart
    """
    answer = question(config, "restart")
    if as_json:
        print_json(answer)
    else:
        click.echo(line(answer))


def line(answer: Mapping[str, Any]) -> str:
    return f"process {answer['pid']} ends now; {_WHO[answer['by']]}"


COMMANDS: tuple[click.Command, ...] = (restart,)
