"""Makes and renews the files of a broker: authority, certificate, logins, list of topics, config for Mosquitto.

A second run keeps what there is and adds what is missing. What another person has changed or put there is left as it
is, and said. Each file is written as a whole, so a run that was cut off is finished by the next one.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from common.replacing import replace
from gateway.api.errors import CredentialError
from gateway.runtime import authority, broker_files
from gateway.runtime.broker_files import BrokerNames
from gateway.runtime.folder_lock import alone_in

T = TypeVar("T")

CONF: Final = "atls-gateway.conf"
FOR_BROKER: Final = ("broker.pem", "broker.key", "passwords", "acl")
"""The files that Mosquitto reads, beside ``CONF``."""


@dataclass(slots=True)
class Report:
    """``files``: path to what was done, ``made``, ``renewed``, ``changed``, ``kept`` or ``left``. ``logins``: the
    passwords that were made now, never shown again.
    """

    files: dict[str, str] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict, repr=False)
    left: list[str] = field(default_factory=list)
    """Sentences about what was not touched."""
    ends: datetime.datetime | None = None
    """When the broker's certificate does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """``hosts``: names and addresses for the broker's certificate. ``broker_folder``: the folder of the broker's files.
    ``ca`` and ``password``: what the gateway reads. ``renewed``: logins that get another password.
    """

    names: BrokerNames
    hosts: Sequence[str]
    port: int
    broker_folder: str
    ca: Path
    password: Path
    renew: bool = False
    renewed: Collection[str] = ()


def setup(out: Path, wanted: Wanted, now: datetime.datetime) -> Report:
    """Make or change the files in ``out``. CredentialError: a file can't be used; OSError: it can't be written."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone_in(out):
        return _Run(out, wanted, now).report


class _Run:
    def __init__(self, out: Path, wanted: Wanted, now: datetime.datetime) -> None:
        self._out, self._wanted, self._now = out, wanted, now
        self.report = Report()
        ca, ca_key = self._authority()
        self._certificate(ca, ca_key)
        self._for_gateway(authority.pem(ca))
        self._logins()
        self._text("acl", broker_files.acl(wanted.names))
        self._text(CONF, broker_files.conf(wanted.broker_folder, wanted.port))

    def _write(self, path: Path, content: bytes, mode: int, word: str = "") -> None:
        before = path.stat() if path.exists() else None
        if before is None:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        like = before or path.parent.stat()
        replace(path, content, mode, owner=(like.st_uid, like.st_gid), follow=True)
        self.report.files[str(path)] = word or ("made" if before is None else "changed")

    def _keep(self, path: Path) -> None:
        self.report.files[str(path)] = "kept"

    def _authority(self) -> tuple[authority.Certificate, authority.Key]:
        certificate, key = self._out / "ca.pem", self._out / "ca.key"
        if not certificate.exists() and not key.exists():
            made = authority.new_key()
            ca = authority.make_ca(self._wanted.hosts[0], made, self._now)
            self._write(key, authority.key_pem(made), 0o600)
            self._write(certificate, authority.pem(ca), 0o644)
            return ca, made
        if not certificate.exists():  # a run was cut off between the two
            made = _read(key, authority.read_key)
            ca = authority.make_ca(self._wanted.hosts[0], made, self._now)
            self._write(certificate, authority.pem(ca), 0o644)
            return ca, made
        ca, known = _read(certificate, authority.read_certificate), _read(key, authority.read_key)
        if not authority.belongs(ca, known):
            raise CredentialError(str(certificate), f"does not belong to {key}: put both back, or say --out FOLDER")
        self._keep(certificate)
        if ca.not_valid_after_utc - self._now < datetime.timedelta(days=365):
            self.report.left.append(
                f"{certificate} ends on {ca.not_valid_after_utc:%Y-%m-%d}: for a new authority move {self._out} away, "
                "run this again, and give all clients the new ca.pem"
            )
        return ca, known

    def _certificate(self, ca: authority.Certificate, ca_key: authority.Key) -> None:
        path, key_path = self._out / "broker.pem", self._out / "broker.key"
        names = authority.without_doubles(self._wanted.hosts)
        word = "made"
        if key_path.exists():
            key = _read(key_path, authority.read_key)
        else:
            key = authority.new_key()
            self._write(key_path, authority.key_pem(key), 0o600)
        if path.exists():
            found = _read(path, authority.read_certificate)
            if not authority.signed_by(found, ca):
                self.report.left.append(f"{path} is of another authority than ca.pem: it was not touched")
                return
            names = authority.without_doubles((*authority.names_of(found), *names))
            good = authority.belongs(found, key) and set(names) <= set(authority.names_of(found))
            if good and not authority.ends_soon(found, self._now) and not self._wanted.renew:
                self._keep(path)
                self.report.ends = found.not_valid_after_utc
                return
            word = "renewed"
        certificate = authority.issue(ca, ca_key, key, names, self._now)
        self._write(path, authority.pem(certificate), 0o644, word)
        self.report.ends = certificate.not_valid_after_utc

    def _for_gateway(self, ca: bytes) -> None:
        place = self._wanted.ca
        if not place.exists():
            self._write(place, ca, 0o644)
        elif place.read_bytes() == ca:
            self._keep(place)
        else:
            self.report.files[str(place)] = "left"
            self.report.left.append(
                f"{place} holds another authority than {self._out / 'ca.pem'}: it was not touched. Unless you "
                "know why, move it away and run this again"
            )

    def _logins(self) -> None:
        path = self._out / "passwords"
        known = broker_files.entries(path.read_text()) if path.exists() else {}
        fresh = dict(known)
        names = self._wanted.names
        for login in names.logins:
            if login == names.gateway:
                password = self._own_password()
                if not broker_files.fits(password, known.get(login, "")):
                    fresh[login] = broker_files.hashed(password)
            elif login not in known or login in self._wanted.renewed:
                self.report.logins[login] = secrets.token_hex(12)
                fresh[login] = broker_files.hashed(self.report.logins[login])
        if fresh == known:
            self._keep(path)
        else:
            self._write(path, broker_files.passwords(fresh.items()).encode(), 0o600)

    def _own_password(self) -> str:
        place = self._wanted.password
        if place.exists() and self._wanted.names.gateway not in self._wanted.renewed:
            self._keep(place)
            password = place.read_text().rstrip("\r\n")
            if not password:
                raise CredentialError(str(place), "is empty: remove it, and a password is made")
            return password
        password = secrets.token_hex(16)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(place, password.encode() + b"\n", 0o600)
        return password

    def _text(self, name: str, text: str) -> None:
        """One that people may have changed: then ours goes beside it."""
        path = self._out / name
        if not path.exists():
            self._write(path, text.encode(), 0o600 if name in FOR_BROKER else 0o644)
            return
        found = path.read_text()
        if found == text:
            self._keep(path)
        elif broker_files.untouched(found):
            self._write(path, text.encode(), 0o600 if name in FOR_BROKER else 0o644)
        else:
            beside = path.with_name(f"{name}.new")
            self._write(beside, text.encode(), 0o600)
            self.report.files[str(path)] = "left"
            self.report.left.append(
                f"{path} was changed by hand: it was not touched. What this run would write: {beside}"
            )


def _read(path: Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(path.read_bytes())
    except FileNotFoundError:
        raise CredentialError(str(path), "isn't there: put it back, or say --out FOLDER for new files") from None
    except ValueError as error:
        raise CredentialError(str(path), str(error)) from None
