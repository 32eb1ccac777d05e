"""The errors that every room shares. Nothing else belongs here.

``PeerError``       bad input from outside (a peer, the radio, the disk). Parsers raise this and nothing else.
``UsageError``      our own bug: an API called in a way that its docstring forbids.
``TransportError``  the way to a peer is gone or refused; ``transient`` says whether trying again can help.
``CredentialError`` a key or certificate file that can't be used; says which file and what to do.
"""

from __future__ import annotations


class PeerError(Exception):
    """Input from outside that breaks its protocol. The text never holds payload octets."""


class UsageError(Exception):
    """A call that breaks the contract of the API: our fault, never a peer's."""


class TransportError(Exception):
    """The way to a peer failed.

    ``transient`` is true if trying again later can help (a lost connection, a full queue).
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class CredentialError(Exception):
    """A credential file that can't be used.

    ``path`` is the file; the text says what is wrong with it and what to do. Never holds key material.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
