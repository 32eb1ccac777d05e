"""The errors an adapter may raise or meet: those of ``layer.errors`` and two of the gateway's own.

Both of our own are fatal at start and speak to the person who wrote the config file. A policy denial is never an
exception: it is the value ``gateway.api.model.Refused``.
"""

from __future__ import annotations

from layer.errors import CredentialError, PeerError, TransportError, UsageError

__all__ = ["ConfigError", "CredentialError", "PeerError", "PluginError", "TransportError", "UsageError"]


class ConfigError(Exception):
    """A config value that can't be used.

    ``file`` and ``line`` say where (line 0: unknown), ``key`` is the dotted key path, ``expected`` what would do.
    ``str()`` is one line: ``file:line: key: expected ...``.
    """

    def __init__(self, key: str, expected: str, *, file: str = "", line: int = 0) -> None:
        self.key = key
        self.expected = expected
        self.file = file
        self.line = line
        place = f"{file}:{line}: " if line else f"{file}: " if file else ""
        super().__init__(f"{place}{key or '(top level)'}: {expected}")


class PluginError(Exception):
    """An adapter that can't be loaded: not installed, two of one scheme, another version of the api."""
