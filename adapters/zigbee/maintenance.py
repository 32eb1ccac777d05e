"""What an administrator does about the network while the gateway does not run: look at it, take the dongle's on, write
ours to the dongle.

``network`` looks. ``network-adopt`` makes the dongle's network ours. ``network-restore`` writes ours, or that of a
file, to the dongle. Whatever is to be replaced is first kept in a file (mode 0600, it holds keys):

- a ``.db`` is a store: zigpy's database with the network and its devices, who joined and who left beside it. To restore
  from it brings both back, to the state folder and to the dongle.
- a ``.json`` is what a dongle held. To restore from it writes the dongle only, unless it is a backup of our network.

Each step leaves something that the next start understands: a kill in between loses nothing.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from adapters.zigbee import backups
from adapters.zigbee.ezsp_radio import EZSP
from adapters.zigbee.faults import describe
from adapters.zigbee.members import FILE as MEMBERS
from adapters.zigbee.network import Network, described
from adapters.zigbee.radio_port import RadioFamily, RadioSettings
from common.replacing import beside, put
from common.replacing import replace as replace_file
from gateway.api.errors import PeerError

KEPT: Final = "kept"
"""The folder of what was replaced, in the adapter's state folder."""
RADIO: Final[RadioFamily] = EZSP
_SQLITE: Final = b"SQLite format 3\0"

Tell = Callable[[str], None]


async def carry_out(
    command: str, arguments: Mapping[str, Any], settings: RadioSettings, tell: Tell
) -> Mapping[str, Any]:
    """One of ``COMMANDS``. ``tell`` gets a line before each long step. PeerError: why not, and what was changed."""
    RADIO.quiet_libraries()
    try:
        if command != "network":
            settings.database.parent.mkdir(mode=0o700, exist_ok=True)
        return await COMMANDS[command](settings, arguments, tell)
    except (PeerError, asyncio.CancelledError):
        raise
    except backups.AddressError as error:
        raise PeerError(str(error)) from error
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_TOOBIG"))
        words = "the disk is full, or can't be written" if full else "not a sound database"
        raise PeerError(f"{settings.database}: {words}; the dongle was not changed") from error
    except Exception as error:  # the libraries raise almost anything
        raise PeerError(describe(error, settings.path)) from error


async def _network(settings: RadioSettings, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    known = [backups.network_of(each) for each in backups.all_in(settings.database)]
    tell(f"looking at the dongle at {settings.path} ...")
    held, fault = None, ""
    try:
        held = await _held(settings)
    except Exception as error:  # the libraries raise almost anything
        fault = describe(error, settings.path)
    folder = settings.database.parent / KEPT
    kept = sorted(str(path) for path in folder.glob("network-*") if path.suffix in (".db", ".json"))
    found = None if held is None else replace(backups.network_of(held), saved=None)
    return {
        **described(known[-1] if known else None, found, fault),
        "earlier": [each.shown() for each in known[:-1]],
        "kept": [path for path in kept if not path.endswith(MEMBERS)],
    }


async def _adopt(settings: RadioSettings, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    ours, held = backups.in_database(settings.database), await _held(settings)
    _expect(arguments, held)
    if held is None:
        raise PeerError("the dongle is blank: there is no network to adopt. `atls-gateway network restore` writes ours")
    if ours is None:
        raise PeerError("no network is recorded here: the next start takes the dongle's on by itself")
    known, found = backups.network_of(ours), backups.network_of(held)
    if found.is_ours(known):
        return {"changed": False, "kept": []}
    kept = _keep_store(settings.database, known)
    tell(f"kept our network and its devices in {kept}")
    database = settings.database
    if not found.is_same(known):
        database = _fresh(database)
    tell("taking the dongle's network on ...")
    async with RADIO.opened(settings, database) as app:
        if await backups.ask(app) is None:
            raise PeerError("the dongle is blank now; nothing was changed")
        backups.record(app)
    if database != settings.database:
        _put(database, settings.database)
        settings.database.with_name(MEMBERS).unlink(missing_ok=True)
    return {"changed": True, "kept": [str(kept)]}


async def _restore(settings: RadioSettings, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    source, address, earlier = arguments.get("from"), arguments.get("address", "write"), arguments.get("network")
    if address not in backups.ADDRESSES:
        raise PeerError(f"address: expected one of {', '.join(backups.ADDRESSES)}")
    ours = backups.in_database(settings.database)
    wanted, store = (ours, None) if source is None else _read(Path(source))
    if wanted is None:
        raise PeerError("no network is recorded here: name a file with --from FILE, or `network adopt` the dongle's")
    if earlier is not None:
        found = {backups.network_of(each).extended_pan_id: each for each in backups.all_in(settings.database)}
        if earlier not in found:
            raise PeerError(f"{earlier}: no extended PAN id of a network that `atls-gateway network show` lists")
        wanted = found[earlier]
    target = backups.network_of(wanted)
    async with RADIO.opened(settings, None) as app, asyncio.timeout(settings.start):
        held = await backups.ask(app)
        _expect(arguments, held)
        on_dongle = None if held is None else backups.network_of(held)
        written = on_dongle is None or not on_dongle.is_ours(target)
        if written:
            await backups.check(app, wanted, address)
    kept: list[Path] = []
    if held is not None and on_dongle is not None and written:
        kept.append(_keep_dongle(settings.database, held))
        tell(f"kept the dongle's network in {kept[-1]}")
    if store is not None:
        if ours is not None:
            kept.append(_keep_store(settings.database, backups.network_of(ours)))
            tell(f"kept our network and its devices in {kept[-1]}")
        _bring_back(store, settings.database)
    is_ours = store is not None or earlier is not None or ours is None or target.is_same(backups.network_of(ours))
    recorded = not is_ours or (store is None and ours is not None and target.is_ours(backups.network_of(ours)))
    if written:
        tell("writing the network to the dongle, which takes some twenty seconds: leave it plugged in ...")
    if written or not recorded:
        async with (
            RADIO.opened(settings, settings.database if is_ours else None) as app,
            asyncio.timeout(settings.start),
        ):
            if written:
                await backups.write(app, wanted, address)
            else:
                await backups.ask(app)
            if is_ours:
                backups.record(app)
    changed = written or not recorded
    return {"changed": changed, "kept": [str(path) for path in kept], "ours": is_ours}


COMMANDS: Final = {"network": _network, "network-adopt": _adopt, "network-restore": _restore}


async def _held(settings: RadioSettings) -> backups.Backup | None:
    """What the dongle holds; None: it is blank."""
    async with RADIO.opened(settings, None) as app, asyncio.timeout(settings.start):
        return await backups.ask(app)


def _expect(arguments: Mapping[str, Any], held: backups.Backup | None) -> None:
    """What was looked at is what was agreed to."""
    expected = arguments.get("dongle", ...)
    found = None if held is None else backups.network_of(held).extended_pan_id
    if expected is not ... and expected != found:
        raise PeerError("the dongle holds another network than a moment ago; nothing was changed")


# Files -------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[backups.Backup, Path | None]:
    """The backup in a file, and the file again if it is a store."""
    try:
        with path.open("rb") as file:
            is_store = file.read(len(_SQLITE)) == _SQLITE
        if not is_store:
            return backups.in_file(path.read_text(encoding="utf-8")), None
        found = backups.in_database(path)
    except OSError as error:
        raise PeerError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise PeerError(f"{path}: expected a backup of a ZigBee network") from None
    except ValueError as error:
        raise PeerError(f"{path}: {error}") from None
    except sqlite3.Error:
        raise PeerError(f"{path}: expected a database of zigpy's") from None
    if found is None:
        raise PeerError(f"{path}: there is no backup of a network in it")
    return found, path


def _name(database: Path, network: Network, suffix: str) -> Path:
    folder = database.parent / KEPT
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")[:-3]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"network-0x{network.pan_id:04x}-{stamp}{suffix}"


def _keep_dongle(database: Path, held: backups.Backup) -> Path:
    try:
        path = _name(database, backups.network_of(held), ".json")
        replace_file(path, backups.text_of(held))
    except OSError as error:
        raise PeerError(f"{KEPT}: {error.strerror}; nothing was changed") from error
    return path


def _keep_store(database: Path, network: Network) -> Path:
    try:
        path = _name(database, network, ".db")
        _copy(database, path)
        members = database.with_name(MEMBERS)
        if members.exists():
            replace_file(path.with_suffix("." + MEMBERS), members.read_bytes())
    except OSError as error:
        raise PeerError(f"{KEPT}: {error.strerror}; nothing was changed") from error
    return path


def _bring_back(store: Path, database: Path) -> None:
    new, members = _fresh(database), store.with_suffix("." + MEMBERS)
    try:
        _copy(store, new)
        _put(new, database)
        if members.exists():
            replace_file(database.with_name(MEMBERS), members.read_bytes())
        else:
            database.with_name(MEMBERS).unlink(missing_ok=True)
    except OSError as error:
        raise PeerError(f"{database.parent}: {error.strerror}; the dongle was not changed") from error


def _copy(source: Path, target: Path) -> None:
    """Copy a database with what its journal holds; whole, or not at all."""
    new = beside(target)
    os.close(os.open(new, os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(new)) as copy:
            old.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        put(new, target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _put(new: Path, database: Path) -> None:
    """Put a database, closed, in the place of another."""
    for path in (database, new):
        if path.exists():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")  # what its journal holds belongs to this file only
    put(new, database)


def _fresh(database: Path) -> Path:
    """An empty file beside a database, for the one that is to take its place."""
    new = database.with_name(database.name + ".new")
    for path in new.parent.glob(new.name + "*"):
        path.unlink()
    os.close(os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return new
