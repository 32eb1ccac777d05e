"""zigpy's backups of a network: read from its database, written to a dongle, kept as files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import zigpy.application
import zigpy.backups
import zigpy.exceptions
import zigpy.types

from adapters.zigbee.network import Network

Backup = zigpy.backups.NetworkBackup
Application = zigpy.application.ControllerApplication

COUNTERS_A_DAY: Final = 1_000_000
"""By so much a frame counter is raised for each day, begun or whole, since the backup: devices refuse a counter that
they have seen, and a coordinator that sends ten frames a second sends 864,000 in a day."""
_MOST: Final = 0xF000_0000
"""No counter is raised beyond this: at 0xFFFFFFFF a coordinator falls silent for good."""

_UNKNOWN: Final = "ff:ff:ff:ff:ff:ff:ff:ff"
"""zigpy's word for the address that the dongle has anyway."""

ADDRESSES: Final = ("write", "once", "keep")
"""What becomes of the dongle's EUI64 if a network had another coordinator: it is written if that can be undone; even if
it can be done only once; or not at all, and the network gets this coordinator.
"""


class AddressError(Exception):
    """The dongle's EUI64 can't be made that of the network's coordinator, or only for good (``once``)."""

    def __init__(self, *, once: bool) -> None:
        self.once = once
        how = "can be written only once and for good" if once else "was written before and can't be written again"
        choices = ["`--address once` (writes it for good)"] if once else []
        choices.append("`--address keep` (leaves it: devices may have to join again)")
        super().__init__(
            f"our network has another coordinator, and the address (EUI64) of this dongle {how}: run "
            f"`atls-gateway network restore` with {' or '.join(choices)}"
        )


def network_of(backup: Backup) -> Network:
    info = backup.network_info
    return Network(
        pan_id=int(info.pan_id),
        extended_pan_id=str(info.extended_pan_id).lower(),
        coordinator=str(backup.node_info.ieee).lower(),
        channel=int(info.channel),
        key=bytes(info.network_key.key.serialize()),
        saved=backup.backup_time,
    )


def held(app: Application) -> Network:
    """The dongle's network, as far as it was read (``load_network_info``)."""
    return replace(network_of(app.backups.from_network_state()), saved=None)


def last(app: Application) -> Backup | None:
    return app.backups.most_recent_backup()


def all_in(database: Path) -> list[Backup]:
    """The last backup of each network in a database of zigpy's, ours at the end. The database is not changed.

    An older gateway took over whatever network a dongle held, so there may be several. sqlite3.Error: not a database,
    or not a sound one.
    """
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not version:
            return []  # made and never written to
        rows = connection.execute(f"SELECT backup_json FROM network_backups_v{int(version)}").fetchall()  # noqa: S608
    found = [backup for (text,) in rows if (backup := Backup.from_dict(json.loads(text))).is_complete()]
    newest = {network_of(each).extended_pan_id: each for each in sorted(found, key=lambda each: each.backup_time)}
    return sorted(newest.values(), key=lambda each: each.backup_time)


def in_database(database: Path) -> Backup | None:
    """Ours, from a database of zigpy's; None if it knows of no network. sqlite3.Error as ``all_in``."""
    found = all_in(database)
    return found[-1] if found else None


def in_file(text: str) -> Backup:
    """The backup of a JSON file: zigpy's, or an open coordinator backup that it wrote. ValueError: it is none."""
    try:
        found = json.loads(text)
        herdsman = str(found.get("metadata", {}).get("source", "")).startswith("zigbee-herdsman")
        backup = None if herdsman else Backup.from_dict(found)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        raise ValueError("expected a backup of a ZigBee network") from None
    if backup is None:
        raise ValueError("a backup of zigbee2mqtt is not taken: its octet order depends on the driver")
    if not backup.is_complete():
        raise ValueError("expected the backup of a whole network")
    return backup


def text_of(backup: Backup) -> str:
    """For a file. It holds the network key."""
    return json.dumps(backup.as_dict())


async def ask(app: Application) -> Backup | None:
    """The dongle's network, devices and link keys included; None: it is blank."""
    try:
        await app.load_network_info(load_devices=True)
    except zigpy.exceptions.NetworkNotFormed:
        return None
    return app.backups.from_network_state()


def record(app: Application) -> None:
    """Make what the dongle holds the last backup of the database, and the only one of its network: it is ours now."""
    new = app.backups.from_network_state()
    for backup in app.backups.backups[:]:
        if network_of(backup).is_same(network_of(new)):
            app.backups.listener_event("network_backup_removed", backup)
            app.backups.backups.remove(backup)
    app.backups.add_backup(new)


async def write(app: Application, backup: Backup, address: str = "write") -> None:
    """Write a network to the dongle, in place of what it holds, with frame counters that its devices accept.

    AddressError as ``check``; the dongle is untouched then.
    """
    raised = await check(app, backup, address)
    await app.backups.restore_backup(raised, counter_increment=0, allow_incomplete=True, create_new=False)
    await app.load_network_info(load_devices=True)


async def check(app: Application, backup: Backup, address: str) -> Backup:
    """The backup to write for a network. AddressError: ``address``, of ``ADDRESSES``, doesn't allow the steps to it."""
    raised = _raised(backup, keep=address == "keep", once=address == "once")
    try:
        await app.can_write_network_settings(network_info=raised.network_info, node_info=raised.node_info)
    except zigpy.exceptions.DestructiveWriteNetworkSettings:
        raise AddressError(once=True) from None
    except zigpy.exceptions.CannotWriteNetworkSettings:
        raise AddressError(once=False) from None
    return raised


def _raised(backup: Backup, *, keep: bool, once: bool) -> Backup:
    days = 1 + max(0, (datetime.now(UTC) - backup.backup_time).days)
    info = backup.network_info
    specific: Mapping[str, Any] = info.stack_specific.get("ezsp", {})
    if once:
        specific = {**specific, "i_understand_i_can_update_eui64_only_once_and_i_still_want_to_do_it": True}
    keys = {
        name: key.replace(tx_counter=min(key.tx_counter + days * COUNTERS_A_DAY, max(key.tx_counter, _MOST)))
        for name, key in (("network_key", info.network_key), ("tc_link_key", info.tc_link_key))
    }
    node = backup.node_info.replace(ieee=zigpy.types.EUI64.convert(_UNKNOWN)) if keep else backup.node_info
    return Backup(
        network_info=info.replace(stack_specific={**info.stack_specific, "ezsp": dict(specific)}, **keys),
        node_info=node,
    )
