"""A small file of JSON in an adapter's state folder, which is replaced as a whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from common.replacing import replace

_LOG = logging.getLogger(__name__)

_ANOTHER_FORM: Final = (ValueError, ArithmeticError, TypeError, LookupError, AttributeError)


class JsonFile:
    """A file that the adapter can do without: what can't be read or written is a line of the log.

    ``lost``: what the loss of the file means, for that line. ``synced``: it is on the disk when ``write`` returns.
    """

    def __init__(self, path: Path, lost: str, *, synced: bool = True) -> None:
        self._path = path
        self._lost = lost
        self._synced = synced

    def read(self, take: Callable[[Any], None]) -> None:
        """Give what the file holds to ``take``, if there is a file. ``take`` raises what a value of another form makes
        it raise (``ValueError``, ``ArithmeticError``, ``TypeError``, ``LookupError``, ``AttributeError``), and has
        changed nothing then."""
        try:
            take(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, RecursionError, *_ANOTHER_FORM) as error:
            _LOG.warning("%s can't be read (%s): %s", self._path.name, type(error).__name__, self._lost)

    def write(self, value: Any) -> None:
        """Put ``value`` in the place of what the file held; it keeps that if it can't be written."""
        try:
            replace(self._path, json.dumps(value), synced=self._synced)
        except OSError as error:
            _LOG.error("%s can't be written (%s): %s after a restart", self._path.name, error.strerror, self._lost)
