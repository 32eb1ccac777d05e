"""Edits of the file of clients' pre-shared keys (``adapters.coap.psk_file``): one client is added, changed or revoked.

All other lines, comments included, stay as they are. Two runs at a time wait for each other. No error holds a key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.replacing import replace
from gateway.api.errors import CredentialError, UsageError
from gateway.runtime.folder_lock import alone_in
from layer.psk_file import MAX_PSK_IDENTITY, parse, psk_problem

MAX_FILE: Final = 256 * 1024
"""Octets, as the gateway's reader of the file allows."""
_FIRST_LINE: Final = (
    b"# Clients of the gateway (coaps), identity:key in hexadecimal. See: atls-gateway clients --help\n"
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made now. ``shown``: as its client is given it, as text or in hexadecimal."""

    identity: str
    shown: str
    form: str

    def __repr__(self) -> str:
        return f"NewKey(identity={self.identity!r}, form={self.form!r})"


def identity_problem(name: str) -> str | None:
    """Why no client can have this name as its PSK identity, or None."""
    try:
        octets = name.encode()
    except UnicodeEncodeError:
        return "expected UTF-8"
    if not name.isprintable() or name != name.strip() or name.startswith("#"):
        return "expected printable characters, no space at an end, and no # as the first one"
    problem = psk_problem(octets, bytes(16))
    return problem and f"expected 1 to {MAX_PSK_IDENTITY} octets, not {len(octets)}"


FORMS: Final = {"hex": 32, "short": 16, "text": 16}
"""The random octets of a key by its form: in hexadecimal, in hexadecimal for small devices, or their hexadecimal digits
as the key itself."""


def make(name: str, form: str) -> tuple[NewKey, bytes]:
    """A fresh key, and the octets of it. ``form``: one of ``FORMS``."""
    shown = secrets.token_hex(FORMS[form])
    return NewKey(name, shown, form), shown.encode() if form == "text" else bytes.fromhex(shown)


class ClientKeys:
    """The file at ``path``. CredentialError: it has a mistake; OSError: it can't be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<ClientKeys {self.path}>"

    def names(self) -> list[str]:
        """The identities in the order of their lines."""
        return [identity.decode("utf-8", "backslashreplace") for identity in parse(self._read(), str(self.path))]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Against other runs: for each of the edits, and until the gateway has read it. The folder is made (mode 0700)
        if it isn't there. TransportError: another run doesn't end."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone_in(self.path.resolve().parent):
            yield

    def add(self, name: str, form: str = "hex") -> NewKey:
        """UsageError: there is such a client. The file is made if it isn't there."""
        return self._write_key(name, form, known=False)

    def rotate(self, name: str, form: str = "hex") -> NewKey:
        """UsageError: there is no such client."""
        return self._write_key(name, form, known=True)

    def revoke(self, name: str) -> None:
        """UsageError: there is no such client."""
        content = self._read()
        lines = content.split(b"\n")
        del lines[self._line(content, name)]
        self._write(b"\n".join(lines))

    def _write_key(self, name: str, form: str, *, known: bool) -> NewKey:
        if problem := identity_problem(name):
            raise UsageError(f"{_shown(name)}: {problem}")
        key, octets = make(name, form)
        line = b"%s:%s" % (name.encode(), octets.hex().encode())
        content = self._read()
        if known:
            lines = content.split(b"\n")
            lines[self._line(content, name)] = line
            self._write(b"\n".join(lines))
            return key
        if name.encode() in parse(content, str(self.path)):
            raise UsageError(
                f"{name}: there is such a client already; its key is not shown again. For a new key: "
                f"atls-gateway clients rotate {name}{'' if form == 'hex' else f' --{form}'}"
            )
        gap = b"" if not content or content.endswith(b"\n") else b"\n"
        self._write(content + gap + line + b"\n")
        return key

    def _line(self, content: bytes, name: str) -> int:
        table = parse(content, str(self.path))
        found = table.get(name.encode("utf-8", "surrogateescape"))
        if found is None:
            known = ", ".join(identity.decode("utf-8", "backslashreplace") for identity in table) or "nobody"
            raise UsageError(f"{_shown(name)}: no such client in {self.path}; there is {known}")
        return found[0]

    def _read(self) -> bytes:
        if self.path.exists() and not self.path.is_file():
            raise CredentialError(str(self.path), "expected a regular file")
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return b""
        except PermissionError:
            raise
        except OSError as error:
            raise CredentialError(str(self.path), f"can't be read: {error.strerror or error}") from None
        if len(content) > MAX_FILE:
            raise CredentialError(str(self.path), f"is longer than {MAX_FILE} octets")
        return content

    def _write(self, content: bytes) -> None:
        if not re.search(rb"^\s*#", content, re.MULTILINE):
            content = _FIRST_LINE + content  # without a comment a file that has no key would look like an accident
        # The gateway's user must be able to read it: it stays its owner's, a new one is its folder's owner's.
        like = (self.path if self.path.exists() else self.path.parent).stat()
        replace(self.path, content, owner=(like.st_uid, like.st_gid), follow=True)


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
