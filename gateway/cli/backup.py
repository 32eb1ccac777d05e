"""``atls-gateway backup`` and ``restore``: the passphrase, the questions and the answers around them."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.api.errors import ConfigError, PeerError, TransportError
from gateway.cli.asking import TRY_SUDO, config_option, json_option, print_json, print_lines
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, NOT_ALLOWED, UNREACHABLE, fail
from gateway.runtime.config_source import config_path, socket_path

if TYPE_CHECKING:
    from gateway.runtime.backup import Inventory
    from gateway.runtime.backup_file import Manifest
    from gateway.runtime.restore import Restore

_LEAST = 8
"""Characters of a passphrase: a thief of the file can try any number of them."""
_OFTEN = 2.0
"""Seconds between two lines that say how far it is."""

passphrase_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Read the passphrase from the first line of a file that only you can read; - is standard input.",
)


class _Progress:
    """Says on standard error how far long work is."""

    def __init__(self, what: str, total: int = 0, often: float = _OFTEN) -> None:
        self._what, self._total, self._often = what, total, often
        self._done = 0
        self._next = time.monotonic() + often

    def __call__(self, octets: int) -> None:
        self._done += octets
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._often
            of = f" of {self._total >> 10}" if self._total else ""
            click.echo(f"{self._what}: {self._done >> 10}{of} KiB", err=True)


@click.command(epilog=EPILOG)
@config_option
@json_option
@passphrase_option
@click.option("--list", "only_list", is_flag=True, help="Say what is in the backup FILE instead; writes nothing.")
@click.option(
    "--credentials",
    metavar="DIR",
    help="The folder of the files that the config names as $CREDENTIALS_DIRECTORY. Default: as the unit loads them.",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(
    config: str | None, as_json: bool, passphrase_file: str | None, only_list: bool, credentials: str | None, file: Path
) -> None:
    """Write all that this gateway needs elsewhere into one encrypted FILE.

    That is: the config, the policy, the credential and CA files that the config names, and the state folder with the
    ZigBee network and its keys. It can be done while the gateway runs. The passphrase is asked for twice; without it
    the file is worth nothing, to others and to you. The command lists what it could not take along.

    \b
    Before an upgrade:
      atls-gateway backup /root/before-upgrade.atls
    Every night, by cron or a timer (the file of the passphrase is root's, mode 0600):
      atls-gateway backup --passphrase-file /root/backup-passphrase /mnt/nas/gateway.atls
    What is in it, and is it whole?
      atls-gateway backup --list /root/before-upgrade.atls
    """
    from gateway.runtime.backup_file import BackupError, inspect

    path = config_path(config, os.environ)
    try:
        if only_list:
            manifest, _ = inspect(file, _passphrase(passphrase_file, twice=False), _Progress("read"))
        else:
            manifest = _backup(path, file, passphrase_file, credentials)
    except ConfigError as error:
        fail(BAD_CONFIG, error)
    except PermissionError as error:
        fail(NOT_ALLOWED, _sentence(error), TRY_SUDO)
    except TransportError as error:
        fail(UNREACHABLE, error, "The state folder is in use, and its gateway does not answer.")
    except PeerError as error:
        fail(FAILED, f"the running gateway: {error}", "If it is older than this program, restart it first.")
    except BackupError as error:
        fail(FAILED, error)
    except OSError as error:
        fail(FAILED, _sentence(error))
    if as_json:
        print_json({"file": str(file), **asdict(manifest)})
    elif only_list:
        print_lines(_described(file, manifest))
    else:
        count = len(manifest.files)
        click.echo(f"{file}: {count} files of {manifest.name}, {file.stat().st_size >> 10} KiB")
        print_lines(_left_out(manifest))


def _sentence(error: OSError) -> str:
    """Our errors have a text only; one of the system's a file and a reason."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _backup(path: Path, file: Path, passphrase_file: str | None, credentials: str | None) -> Manifest:
    from gateway.runtime import backup as backups

    found = backups.inventory(path, os.environ, credentials=Path(credentials) if credentials else None)
    running = backups.in_use(found.state)
    passphrase = _passphrase(passphrase_file, twice=True)
    snapshot = _snapshot(found) if running else None
    try:
        if snapshot is not None:
            backups.read_store_from(found, snapshot)
        return backups.write(found, file, passphrase, _Progress("written", found.octets))
    finally:
        if snapshot is not None:
            snapshot.unlink(missing_ok=True)


def _snapshot(found: Inventory) -> Path:
    """A copy of the store that the running gateway made: it lets no other process read the store."""
    from gateway.runtime.admin_client import NotAllowedError, ask
    from gateway.runtime.state_folder import SNAPSHOT

    try:
        ask(socket_path(found.source), "snapshot", {}, timeout=120.0)
    except NotAllowedError as error:
        raise PermissionError(str(error)) from None
    return found.state / SNAPSHOT


@click.command(epilog=EPILOG)
@config_option
@json_option
@passphrase_option
@click.option("--dry-run", is_flag=True, help="Say what is in the backup and what would become of it; change nothing.")
@click.option("--replace", is_flag=True, help="Put what is there already aside, into a folder before-restore-TIME.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def restore(
    config: str | None, as_json: bool, passphrase_file: str | None, dry_run: bool, replace: bool, file: Path
) -> None:
    """Put the files of a backup in their places: all of them, or none.

    The config goes to the place of -c (default /etc/atls-gateway/gateway.yaml), what it names beside it or to its
    absolute path, the state to the config's state_dir. A gateway that runs there has to be stopped first. Interrupted
    in the middle, the same command finishes it.

    All sessions of the backup's time end at the next start, and both ends learn that: what has passed since is not in
    it.

    \b
    On a new machine, as root, with the program installed:
      atls-gateway restore --dry-run gateway.atls
      atls-gateway restore gateway.atls
    Over what is there, which is kept aside:
      systemctl stop atls-gateway
      atls-gateway restore --replace gateway.atls
    """
    from gateway.runtime import restore as restores
    from gateway.runtime.backup_file import BackupError

    path = config_path(config, os.environ)
    os.umask(0o077)
    try:
        passphrase = _passphrase(passphrase_file, twice=False)
        wanted = restores.prepare(file, passphrase, path, os.environ, _Progress("read"))
        finished = [] if dry_run else restores.finish(wanted.state)
        if finished:
            wanted = restores.prepare(file, passphrase, path, os.environ, _Progress("read"))
        kept = finished
        if not dry_run and not wanted.present:
            if wanted.differ and not replace:
                there = [f"  {each}" for each in wanted.differ]
                fail(FAILED, "These are there already, and differ:", *there, *_other_networks(wanted), *_REPLACE)
            kept += restores.carry_out(wanted, file, passphrase, _Progress("restored"))
    except BackupError as error:
        fail(FAILED, error)
    except PermissionError as error:
        fail(NOT_ALLOWED, _sentence(error), "Try it with sudo.")
    manifest = wanted.manifest
    if as_json:
        there = [str(each) for each in wanted.differ]
        print_json(
            {**asdict(manifest), "state_dir": str(wanted.state), "differ": there, "kept": [str(k) for k in kept]}
        )
        return
    if dry_run:
        print_lines(_described(file, manifest))
        click.echo(f"the state would go to {wanted.state}, the config to {path}")
        for each in wanted.differ:
            click.echo(f"is there already, and differs (--replace puts it aside): {each}")
        print_lines(_other_networks(wanted))
        return
    if wanted.present and not kept:
        click.echo(f"{file}: everything is there as it is in the backup")
    else:
        click.echo(f"{file}: {len(manifest.files)} files of {manifest.name} restored; the state is in {wanted.state}")
    for folder in kept:
        click.echo(f"what was there before is in {folder}")
    print_lines(_hints(manifest))


_REPLACE = (
    "restore --replace puts the backup in their place, and keeps them in a folder before-restore-TIME beside them.",
    "Nothing was changed.",
)


def _other_networks(wanted: Restore) -> Iterator[str]:
    """The lines about facts of the backup that differ from the present state: it is another network's."""
    for scheme, ours in wanted.manifest.facts.items():
        there = wanted.facts.get(scheme, {})
        other = {name for name in ours.keys() & there.keys() if ours[name] != there[name]} - {"saved"}
        if other:
            yield f"{scheme}: the backup is of another network than the state that is there:"
            for name in sorted(other):
                yield f"  {name}: {ours[name]} in the backup, {there[name]} there"


def _described(file: Path, manifest: Manifest) -> Iterator[str]:
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.made_at))
    yield f"{file}: {manifest.name}, made {made} by atls-gateway {manifest.program}, whole and authentic"
    if manifest.id:
        yield f"  gateway id: {manifest.id}"
    for scheme, facts in manifest.facts.items():
        yield f"  {scheme}: {', '.join(f'{name} {value}' for name, value in facts.items())}"
    for entry in manifest.files:
        yield f"  {entry.place:6}  {entry.size:>9}  {entry.path}"
    yield from _left_out(manifest)


def _left_out(manifest: Manifest) -> Iterator[str]:
    for each in manifest.left_out:
        yield f"left out: {each}"


def _hints(manifest: Manifest) -> Iterator[str]:
    """Notes after a restore, and the things that a gateway needs from elsewhere."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.made_at))
    yield f"policy, keys and passwords are those of {made}: what was revoked or changed since is as it was then"
    if manifest.credentials:
        yield "the unit has to load, by systemctl edit atls-gateway:"
        yield "  [Service]"
        for name, place in manifest.credentials.items():
            yield f"  LoadCredential={name}:{place}"
    yield from _left_out(manifest)
    for scheme, facts in manifest.facts.items():
        yield f"{scheme}: {', '.join(f'{name} {value}' for name, value in facts.items())}"
        if scheme == "zigbee":
            yield "  A blank dongle is given this network at the start (with form: if-blank). One that holds another"
            yield "  network is not used until atls-gateway network restore has written this one to it."


def _passphrase(file: str | None, *, twice: bool) -> str:
    """From the terminal, or the first line of a file that only its owner can read. Never from the command line."""
    if file is None and not sys.stdin.isatty():
        fail(FAILED, "no terminal to ask for the passphrase: use --passphrase-file FILE (- is standard input)")
    try:
        if file is None:
            found = click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
        else:
            found = sys.stdin.readline() if file == "-" else _first_line(file)
        found = str(found).rstrip("\r\n")
        found.encode()
    except UnicodeError:
        fail(FAILED, f"{file or 'passphrase'}: expected UTF-8 text")
    if len(found) < _LEAST:
        fail(FAILED, f"expected a passphrase of {_LEAST} characters or more")
    return found


def _first_line(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:  # noqa: PTH123
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                fail(FAILED, f"{name}: can be read by group or others; fix it with: chmod 600 {name}")
            return file.readline(4096)
    except OSError as error:
        fail(FAILED, f"{name}: {error.strerror}")


COMMANDS: tuple[click.Command, ...] = (backup, restore)
