"""Runs an endpoint process once its options are read: policy, application, signals, exit codes."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from endpoint.application import MAX_SESSIONS, Application
from endpoint.control import MAX_MESSAGE
from endpoint.policy import Layer0Policy, PolicyError, read_policy
from endpoint.report import Report, reporter
from endpoint.transports.gateway_link import GatewayLink
from layer.errors import CredentialError, PeerError, TransportError, UsageError

_T = TypeVar("_T")

EX_UNDELIVERED: Final = 1
EX_USAGE: Final = 2
EX_UNAVAILABLE: Final = 69
EX_CONFIG: Final = 78


def run(
    make_way: Callable[[Layer0Policy, Report], GatewayLink],
    link_name: str,
    layer1_keys: tuple[bytes, ...],
    *,
    policy_file: Path,
    opens: tuple[str, ...],
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    leave: bool,
    control: bool,
    as_json: bool,
    log_level: str,
    max_sessions: int = MAX_SESSIONS,
    authorities: Path | None = None,
    learn: Path | None = None,
    lazy: bool = False,
) -> None:
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    report = reporter(as_json=as_json)
    try:
        policy = read_policy(policy_file, layer1_keys=layer1_keys)
    except PolicyError as error:
        _leave(EX_CONFIG, str(error))
    if policy.application == "raw" and (authorities is not None or learn is not None):
        raise click.UsageError("authorities are named over CoAP: the policy needs application: coap")
    if lazy and not (opens or control):
        raise click.UsageError("--lazy goes with --open or --control: without them nothing would make us connect")
    named = loaded(lambda: _authorities(authorities)) if authorities is not None else None
    messages = [_message(text.encode(), "--send") for text in texts] + [_file(path) for path in files]

    async def start() -> bool:
        application = Application(
            policy,
            make_way(policy, report),
            report,
            link_name=link_name,
            max_sessions=max_sessions,
            authorities=named,
            learn=learn,
            lazy=lazy,
        )
        _leave_on_signals(application.quit)
        return await application.run(opens=opens, control=control, messages=messages, leave=leave)

    try:
        everything = asyncio.run(start())
    except asyncio.CancelledError:
        sys.exit(EX_UNDELIVERED)
    except CredentialError as error:
        _leave(EX_CONFIG, str(error))
    except (PeerError, UsageError, TransportError) as error:  # outside of the loop's groups: what the options say
        _leave(EX_USAGE, str(error))
    except BaseExceptionGroup as group:
        faults, others = group.split(TransportError)
        if others is not None or faults is None:
            raise
        _leave(EX_UNAVAILABLE, "; ".join(dict.fromkeys(str(error) for error in _leaves(faults))))
    if not everything:
        sys.exit(EX_UNDELIVERED)


def _leave_on_signals(quit_in_order: Callable[[], None]) -> None:
    """The first SIGTERM or SIGINT leaves in order, the second at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    heard = False

    def hear() -> None:
        nonlocal heard
        if heard:
            task.cancel()
        heard = True
        quit_in_order()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)


def _message(data: bytes, where: str) -> bytes:
    if len(data) > MAX_MESSAGE:
        raise click.UsageError(f"{where}: a message has at most {MAX_MESSAGE} octets")
    return data


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _message(stream.read(MAX_MESSAGE + 1), str(path))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


def _authorities(path: Path) -> Any:
    from endpoint.authorities import load

    return load(path)


def loaded(load: Callable[[], _T]) -> _T:
    try:
        return load()
    except CredentialError as error:
        _leave(EX_CONFIG, str(error))


def _leave(code: int, text: str) -> NoReturn:
    click.echo(f"atls-endpoint: {text}", err=True)
    sys.exit(code)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
