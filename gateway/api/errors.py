"""The errors an adapter may raise or meet: those of ``layer.errors`` and the gateway's own.

Ours are fatal at start and speak to the person who wrote the config file. A policy denial is never an
exception: it is the value ``gateway.api.model.Refused``.
"""

from __future__ import annotations

from layer.errors import CredentialError, PeerError, TransportError, UsageError

__all__ = [
    "ConfigError",
    "CredentialError",
    "Gathered",
    "NoCommandError",
    "PeerError",
    "PluginError",
    "TransportError",
    "UsageError",
]


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


class Gathered:
    """The mistakes that several checks find: each ``with`` block may raise a ConfigError, which is kept.

    ``tell`` raises what was found, several in an ExceptionGroup, so that the person at the config file sees all.
    """

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        found = error.exceptions if isinstance(error, ExceptionGroup) else (error,)  # a group: others gathered as well
        mistakes = [each for each in found if isinstance(each, ConfigError)]
        if not mistakes or len(mistakes) < len(found):
            return False
        self._found += mistakes
        return True

    def tell(self) -> None:
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise ExceptionGroup("mistakes in the config", self._found)


class NoCommandError(PeerError):
    """An administrator's command that this adapter never has."""


class PluginError(Exception):
    """An adapter that can't be loaded: not installed, two of one scheme, another version of the api."""
