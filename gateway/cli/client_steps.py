"""The steps of the commands of ``clients``: find the file, have a running gateway read it, and report the result."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.api.errors import ConfigError, CredentialError, PeerError, TransportError, UsageError
from gateway.cli import qr
from gateway.cli.asking import admin_socket, print_json, print_lines
from gateway.cli.codes import BAD_CONFIG, FAILED, NOT_ALLOWED, fail
from gateway.cli.screen import Screen, screen, table
from gateway.runtime.admin_client import NotAllowedError, ask
from gateway.runtime.client_keys import ClientKeys, NewKey
from gateway.runtime.config_source import CREDENTIALS, Source, config_path, read_config, read_table
from gateway.runtime.credential_source import CredentialPlace, locate

_KEY = ("adapters", "coap", "psk_file")


@dataclass(frozen=True, slots=True)
class _Here:
    """The files of the gateway that all four commands work on."""

    socket: Path
    source: Source
    place: CredentialPlace

    @property
    def keys(self) -> ClientKeys:
        return ClientKeys(self.place.path)


def revoke(config: str | None, file: str | None, as_json: bool, name: str) -> None:
    here = _here(config, file)
    with _reporting_mistakes(), here.keys.held():
        here.keys.revoke(name)
        effect = _reload(here)
        left = here.keys.names()
    if as_json:
        print_json({"identity": name, "file": str(here.place.path), **effect.as_json()})
    else:
        click.echo(f"{name}: its key is gone from {here.place.path}")
        if not left:
            click.echo("No client is left in it.")
        print_lines(effect.lines)
    _end(effect)


def show(config: str | None, file: str | None, as_json: bool) -> None:
    """``clients list``."""
    here = _here(config, file)
    with _reporting_mistakes():
        names = here.keys.names()
    subjects = _subjects(_policy(here.source))
    try:
        coap = ask(here.socket, "clients", {})["adapters"]["coap"]
        answer, let_in, trouble = coap["connected"], {claim.removeprefix("psk:") for claim in coap["let_in"]}, ""
    except (TransportError, PeerError, NotAllowedError, KeyError) as error:
        answer, let_in, trouble = None, set(names), str(error)
    gone = sorted(let_in - set(names))
    rows = [
        {
            "identity": name,
            "subject": subjects.get(name),
            "connected": None if answer is None else answer.get(f"psk:{name}", 0),
        }
        for name in names
    ]
    if as_json:
        print_json({"file": str(here.place.path), "clients": rows, "still_let_in": gone})
        return
    if rows:
        print_lines(list_lines(rows, trouble, screen()))
    else:
        click.echo(f"No client has a key in {here.place.path}; atls-gateway clients add NAME makes one.")
    remedy = "systemctl restart atls-gateway" if here.place.copied else "atls-gateway reload"
    print_lines(f"{name} has no key here any longer, and is let in until: {remedy}" for name in gone)
    late = sorted(set(names) - let_in)
    print_lines(f"{name} has a key here, and is not let in until: {remedy}" for name in late)


def list_lines(rows: Sequence[Mapping[str, Any]], trouble: str, to: Screen) -> Iterator[str]:
    """``connected`` of a row: how many connections; ``trouble``: why the gateway doesn't answer that."""
    shown = [{**row, "subject": row["subject"] or "none", "connected": row["connected"] or "no"} for row in rows]
    columns = {"identity": "CLIENT", "subject": "SUBJECT"} | ({} if trouble else {"connected": "CONNECTED"})
    yield from table(shown, columns, to)
    if trouble:
        yield ""
        yield f"It is unknown who is connected: {trouble}"
    if any(row["subject"] is None for row in rows):
        yield ""
        yield "A client that is no subject of the policy may connect, and do nothing."


def give(config: str | None, file: str | None, as_json: bool, change: Callable[[ClientKeys], NewKey]) -> None:
    here = _here(config, file)
    with _reporting_mistakes(), here.keys.held():
        key = change(here.keys)
        if not as_json:  # at once: whatever becomes of the rest, it is printed only now
            code = qr.lines(f"{key.identity}:{key.shown}") if sys.stdout.isatty() else ()
            print_lines(key_lines(key, f"coaps://{socket.gethostname()}{_port(here.source)}", code))
            print_lines(["", f"Written to {here.place.path}."])
        effect = _reload(here)
    policy = _policy(here.source)
    subject = _subjects(policy).get(key.identity)
    if as_json:
        shown = {"identity": key.identity, "key": key.shown, "encoding": "text" if key.form == "text" else "hex"}
        print_json({**shown, "file": str(here.place.path), "subject": subject, **effect.as_json()})
        _end(effect)
        return
    print_lines(effect.lines)
    if policy is not None and subject is None:
        path = here.source.base / str(here.source.data.get("policy"))
        print_lines(["", *policy_lines(key.identity, policy, str(path))])
    _end(effect)


def key_lines(key: NewKey, url: str, code: Iterable[str] = ()) -> Iterator[str]:
    """The key, its QR ``code`` if there is one, and how a client at ``url`` is given it."""
    yield f"The key of {key.identity}, shown this once:"
    yield ""
    yield f"  identity  {key.identity}"
    yield f"  key       {key.shown}  ({'text' if key.form == 'text' else 'hexadecimal'})"
    yield ""
    if drawn := list(code):
        yield from drawn
        yield f"The code holds the line {key.identity}:KEY."
        yield ""
    if key.form == "text":
        yield f"With libcoap: coap-client-openssl -u {key.identity} -k {key.shown} {url}/.well-known/core"
    else:
        yield f"With atls-endpoint: put the line {key.identity}:{key.shown}"
        yield "into a file of mode 0600 and name it by --psk-file. A program that takes the key as text needs"
        yield f"another one: atls-gateway clients rotate {key.identity} --text"


def _port(source: Source) -> str:
    """``:PORT`` of the listener, if it isn't the default of coaps."""
    listen = str(_table(source, "coap").get("listen", ""))
    port = listen.rpartition(":")[2]
    return f":{port}" if port.isdigit() and port != "5684" and not listen.endswith("]") else ""


# What came of it


@dataclass(frozen=True, slots=True)
class _Effect:
    """``word``: ``now``, ``restart``, ``not running``, ``unread``, ``failed``, ``not allowed``; ``lines`` say it."""

    word: str
    lines: tuple[str, ...]
    code: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"in_force": self.word, "told": list(self.lines)}


def _reload(here: _Here) -> _Effect:
    """Ask the running gateway to read its files again, and see whether it has noticed this one."""
    try:
        answer = ask(here.socket, "reload", {})
    except TransportError as error:
        return _Effect("not running", ("No gateway runs here; it reads the file when it starts.", f"  ({error})"))
    except NotAllowedError as error:
        line = f"Not in force yet: {error}. Run atls-gateway reload as such a user."
        return _Effect("not allowed", (line,), NOT_ALLOWED)
    except PeerError as error:
        return _Effect("failed", (f"Not in force yet: the gateway can't reload: {error}",), FAILED)
    if not answer["ok"]:
        lines = (
            *answer["mistakes"],
            "Not in force yet: the gateway reads all its files or none, and goes on with what it had.",
            "Mend these lines, then: atls-gateway reload",
        )
        return _Effect("failed", lines, BAD_CONFIG)
    changes = {change["key"]: change["effect"] for change in answer["changes"]}
    own = changes.pop(".".join(_KEY), None)
    more = tuple(f"Put in force with it: {key} ({effect})" for key, effect in changes.items())
    if own is not None:
        return _Effect("now", ("In force now: the running gateway has read it.", *more))
    if here.place.copied:
        line = "Not in force yet: systemd gave the service a copy, which a reload can't renew. Now run:"
        return _Effect("restart", (line, "  systemctl restart atls-gateway", *more))
    line = "The running gateway has noticed no change: it doesn't read this file, or was started with another config."
    return _Effect("unread", (line, *more), FAILED)


def _end(effect: _Effect) -> None:
    if effect.code:
        raise SystemExit(effect.code)


# The files


def _here(config: str | None, file: str | None) -> _Here:
    path = config_path(config, os.environ)
    try:
        source = read_config(path, os.environ, credentials=False)
        copied = str(_table(source, "coap").get("psk_file", "")).startswith(CREDENTIALS)
        place = CredentialPlace(Path(file), copied) if file else locate(source, _KEY, os.environ)
    except ConfigError as error:
        fail(BAD_CONFIG, error)
    if place is None:
        others = "; clients over HTTP have tokens: docs/http.md" if _table(source, "http") else ""
        fail(BAD_CONFIG, source.mistake(_KEY, f"expected a file for clients' keys, such as keys/coap-keys{others}"))
    return _Here(admin_socket(config), source, place)


def _table(source: Source, scheme: str) -> dict[str, Any]:
    """The table of an adapter as it stands in the file, whatever that is."""
    adapters = source.data.get("adapters")
    found = adapters.get(scheme) if isinstance(adapters, dict) else None
    return found if isinstance(found, dict) else {}


@contextmanager
def _reporting_mistakes() -> Iterator[None]:
    """A mistake in the file ends the command with its message."""
    try:
        yield
    except UsageError as error:
        fail(FAILED, error)
    except CredentialError as error:
        fail(BAD_CONFIG, error)
    except TransportError as error:
        fail(FAILED, error)
    except PermissionError as error:
        _denied(error)
    except OSError as error:
        fail(FAILED, f"{error.filename}: {error.strerror or error}", "Nothing was changed.")


def _denied(error: PermissionError) -> NoReturn:
    fail(NOT_ALLOWED, f"{error.filename}: {error.strerror}", "Try it with sudo.")


def _policy(source: Source) -> Mapping[str, Any] | None:
    """The policy's values; None if it can't be read, which check-config reports better."""
    try:
        return read_table(source.base / str(source.data.get("policy"))).data
    except ConfigError:
        return None


def _subjects(policy: Mapping[str, Any] | None) -> dict[str, str]:
    """Identity to name of the subjects that have one."""
    subjects = (policy or {}).get("subjects")
    return {
        str(subject["psk_identity"]): name
        for name, subject in (subjects.items() if isinstance(subjects, dict) else ())
        if isinstance(subject, dict) and "psk_identity" in subject
    }


def policy_lines(identity: str, policy: Mapping[str, Any], path: str) -> Iterator[str]:
    """The lines to add to the policy, so that this client may use the devices that there are."""
    taken = {name for part in ("subjects", "resources") for name in policy.get(part) or ()}
    name = identity if identity.replace("-", "").replace("_", "").isalnum() and identity.isascii() else "client"
    while name in taken:
        name += "-2"
    groups = policy.get("groups") or {}
    resource = "group:devices" if "devices" in groups else "[lamp, meter]"
    yield f"No subject of the policy has this identity, so {identity} may connect, and do nothing. Add to"
    yield f"{path}, under its own subjects and rules, and run atls-gateway reload:"
    yield ""
    yield "subjects:"
    yield f"  {name}: {{link: coap, psk_identity: {json.dumps(identity, ensure_ascii=False)}}}"
    yield "rules:"
    yield f"  - id: {name}-uses-devices"
    yield "    effect: permit"
    yield f"    subject: {name}"
    yield f"    resource: {resource}" + ("" if "devices" in groups else "    # your devices")
    yield "    action: [read, observe, write]"
