"""Loads credentials from the files that a command line or a policy names; for either layer, never one key for both."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from layer.credentials import Credentials, Psk, load_private_key, load_psk_file
from layer.errors import CredentialError
from layer.ownership import doubt

_LOG = logging.getLogger(__name__)


def warn_of_others(path: Path) -> None:
    """Log who else could change a file that decides whom we trust. ``OSError`` if it can't be read."""
    doubtful = doubt(path)
    if doubtful is not None:
        _LOG.warning("%s %s", path, doubtful)


def load_credentials(
    base: Path,
    *,
    certificate_file: str | Path | None = None,
    key_file: str | Path | None = None,
    trust_file: str | Path | None = None,
    psk_file: str | Path | None = None,
    psk_identity: str | None = None,
) -> tuple[Credentials, tuple[bytes, ...]]:
    """Credentials and the PSKs in them. File names count from ``base``.

    A client shows ``psk_identity`` (default: the first line of the PSK file); a server knows every line. Raises
    CredentialError.
    """
    for name in (certificate_file, trust_file):
        with contextlib.suppress(OSError):  # a file that isn't there is reported below
            if name:
                warn_of_others(base / name)
    table = load_psk_file(base / psk_file) if psk_file else {}
    own: Psk | None = None
    if psk_file:
        identity = psk_identity.encode() if psk_identity else next(iter(table), b"")
        if identity not in table:
            raise CredentialError(str(base / psk_file), f"expected a line for identity {psk_identity or '(any)'}")
        own = Psk(identity, table[identity])
    credentials = Credentials(
        certificate_chain=base / certificate_file if certificate_file else None,
        private_key=load_private_key(base / key_file) if key_file else None,
        trust_anchors=base / trust_file if trust_file else None,
        psk=own,
        psk_lookup=table or None,
    )
    return credentials, tuple(table.values())
