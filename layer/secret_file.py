"""Files that hold a secret: passwords, keys. Imports no cryptography, which not every reader of one needs.

Their content never shows in an error text, and files that others can read are refused.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from layer.errors import CredentialError
from layer.ownership import doubt

#: Octets of a secret file; a certificate bundle may be longer.
MAX_SECRET_FILE: Final = 256 * 1024


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """The octets of a secret file that only its owner can read, and only root and we can change or replace.

    A link is followed, and the folders on the way count (``layer.ownership``). In systemd's
    ``$CREDENTIALS_DIRECTORY``, which only the service can enter, group bits may be set: there they are the mask of the
    access list that names the service's user. Raises ``CredentialError`` when it can't be read, is not a file, is too
    long, its mode lets group or others in, it is another user's, or others may write to a folder on the way.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise CredentialError(name, f"can't be opened: {why(error)}") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise CredentialError(name, "is not a file")
        if facts.st_mode & (0o037 if _is_systemd_credential(name) else 0o077):
            raise CredentialError(name, f"can be read by group or others; fix it with: chmod 600 {name}")
        doubtful = doubt(name, facts)
        if doubtful is not None:
            raise CredentialError(name, doubtful)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_SECRET_FILE + 1)
    except OSError as error:
        raise CredentialError(name, f"can't be read: {why(error)}") from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_SECRET_FILE:
        raise CredentialError(name, f"is longer than {MAX_SECRET_FILE} octets")
    return content


def with_remedy(error: CredentialError, remedy: str) -> str:
    """The message of a credential that can't be used; with the command that makes one, if the file isn't there.

    Under systemd it is the unit that names the files, and what makes one is no remedy.
    """
    missing = isinstance(error.__context__, FileNotFoundError) and "CREDENTIALS_DIRECTORY" not in os.environ
    return f"{error}; {remedy}" if missing else str(error)


def why(error: Exception) -> str:
    """What to say of a file that can't be opened or read: never what is in it."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _is_systemd_credential(name: str) -> bool:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and os.path.dirname(os.path.realpath(name)) == os.path.realpath(directory or "")  # noqa: PTH120
