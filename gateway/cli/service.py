"""The commands that ask the running daemon over its admin socket, but for those on devices (``devices``)."""

from __future__ import annotations

import click

from gateway.cli import status_view
from gateway.cli.asking import config_option, json_option, print_json, print_lines, question
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, fail
from gateway.cli.screen import screen


@click.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--check", is_flag=True, help="One line; exit code 1 unless it is healthy.")
def status(config: str | None, as_json: bool, check: bool) -> None:
    """Show how the gateway, its links and its traffic are.

    Healthy: every link is ready, the store can be written, the last reload went well, and nothing waits for a restart.
    Otherwise degraded, and a line says why. Warnings of check-config, about what the files name and can't work, are
    shown as well and don't make it degraded. With --check nothing else is shown, and the exit code is for monitoring: 0
    healthy, 1 degraded, 69 not reachable.

    Then one line for each link: its state, since when, how often its adapter was started, what it was given to send
    and has not settled, and its trouble. Then its own figures, the queues, the store, the last faults and the counts
    since the start.

    \b
    Is everything ready, and if not, what?
      atls-gateway status
    For monitoring:
      atls-gateway status --check || echo "look at the gateway"
    One number, for a script:
      atls-gateway status --json | jq .sessions
    """
    answer = question(config, "status")
    if as_json:
        print_json(
            {key: answer.get(key) for key in ("name", "healthy", "state", "why", "warnings")} if check else answer
        )
    elif check:
        click.echo(status_view.verdict(answer))
    else:
        print_lines(status_view.lines(answer, screen()))
    if check and not answer.get("healthy"):
        raise SystemExit(FAILED)


@click.command(epilog=EPILOG)
@config_option
@json_option
def sessions(config: str | None, as_json: bool) -> None:
    """List the live sessions: who with whom, and how much.

    Units, octets and queued units are shown as FROM THE OPENER/TO THE OPENER.

    \b
    Which sessions has the lamp?
      atls-gateway sessions --json | jq '.sessions[] | select(.opener == "lamp" or .target == "lamp")'
    """
    answer = question(config, "sessions")
    if as_json:
        print_json(answer)
    else:
        print_lines(status_view.session_lines(answer["sessions"], screen()))


@click.command(epilog=EPILOG)
@config_option
@json_option
def reload(config: str | None, as_json: bool) -> None:
    """Have the daemon read its config, policy and credentials again, and say what came of it.

    All or nothing: if one of the files has a mistake, each is shown as FILE:LINE: KEY: EXPECTATION, the old config
    stays in force, and the exit code is 78. SIGHUP does the same; its answer is in the log.

    \b
    What can change while it runs, and how:
      now                   policy, log_level, audit_lines, limits
      taken on              an adapter changed it in place and kept its links (coap: clients' keys)
      adapter restarted  everything else of an adapter, its credential files included; sessions stay
      needs a restart       everything else

    \b
      atls-gateway reload
    Try first, which the reload does by itself as well:
      atls-gateway check-config && atls-gateway reload
    """
    answer = question(config, "reload")
    if as_json:
        print_json(answer)
    elif answer["ok"]:
        print_lines(status_view.reload_lines(answer, screen()))
    else:
        fail(BAD_CONFIG, *answer["mistakes"], "Nothing was changed: the old config is in force.")
    if not answer["ok"]:
        raise SystemExit(BAD_CONFIG)


COMMANDS: tuple[click.Command, ...] = (status, sessions, reload)
