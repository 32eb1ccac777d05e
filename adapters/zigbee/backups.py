"""zigpy's backups of a network: read from its database, written to a dongle, kept as files.

With ``radio`` and ``device_table`` these are the files that import zigpy.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
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
"""What becomes of the dongle's EUI64 where a network had another coordinator: it is written where that can be undone;
even where it can be done once only; or not at all, and the network gets this coordinator."""


class AddressError(Exception):
    """The dongle's EUI64 can't be made that of the network's coordinator, or only for good (``once``)."""

    def __init__(self, *, once: bool) -> None:
        self.once = once
        how = "can be written only once and for good" if once else "was written before and can't be written again"
        also = "`--address once` writes it for good, " if once else ""
        super().__init__(
            f"our network has another coordinator, and the address (EUI64) of this dongle {how}. With `atls-gateway "
            f"network restore` {also}`--address keep` leaves it as it is: devices may have to join again then"
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
    """What the dongle holds, as far as it has been asked (``load_network_info``)."""
    found = network_of(app.backups.from_network_state())
    return Network(**{name: getattr(found, name) for name in Network.__slots__ if name != "saved"})


def last(app: Application) -> Backup | None:
    return app.backups.most_recent_backup()


def in_database(path: Path) -> Backup | None:
    """The last backup in a database of zigpy's, which is not changed. sqlite3.Error: it is none, or not sound."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if not version:
            return None  # made and never written to
        rows = database.execute(f"SELECT backup_json FROM network_backups_v{int(version)}").fetchall()  # noqa: S608
    found = [backup for (text,) in rows if (backup := Backup.from_dict(json.loads(text))).is_complete()]
    return max(found, key=lambda backup: backup.backup_time, default=None)


def in_file(text: str) -> Backup:
    """The backup of a JSON file, of zigpy's kind or an open coordinator backup. ValueError: it is none."""
    try:
        backup = Backup.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        raise ValueError("expected a backup of a ZigBee network") from None
    if not backup.is_complete():
        raise ValueError("expected the backup of a whole network")
    return backup


def text_of(backup: Backup) -> str:
    """For a file. It holds the network key."""
    return json.dumps(backup.as_dict())


async def ask(app: Application) -> Backup | None:
    """What the dongle holds, devices and link keys included; None: it is blank."""
    try:
        await app.load_network_info(load_devices=True)
    except zigpy.exceptions.NetworkNotFormed:
        return None
    return app.backups.from_network_state()


def record(app: Application) -> None:
    """Make what the dongle holds the only backup of the database: from now on it is ours."""
    for backup in app.backups.backups[:]:
        app.backups.listener_event("network_backup_removed", backup)
        app.backups.backups.remove(backup)
    app.backups.add_backup(app.backups.from_network_state())


async def write(app: Application, backup: Backup, address: str = "write") -> None:
    """Write a network to the dongle, in place of what it holds, with frame counters that its devices accept.

    AddressError where ``address`` doesn't allow what it would take; the dongle is untouched then.
    """
    raised = _raised(backup, keep=address == "keep", once=address == "once")
    try:
        await app.can_write_network_settings(network_info=raised.network_info, node_info=raised.node_info)
    except zigpy.exceptions.DestructiveWriteNetworkSettings:
        raise AddressError(once=True) from None
    except zigpy.exceptions.CannotWriteNetworkSettings:
        raise AddressError(once=False) from None
    await app.backups.restore_backup(raised, counter_increment=0, allow_incomplete=True, create_new=False)
    await app.load_network_info(load_devices=True)


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


def keep(text: str, path: Path) -> None:
    """Write a file of mode 0600 whole, or not at all."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
