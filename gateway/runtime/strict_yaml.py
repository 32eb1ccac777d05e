"""YAML 1.2 text to plain values with their line numbers, refusing whatever could be read in two ways.

Only the reading belongs here; what the values mean is for ``settings`` and ``policy_file``. Scalars follow the core
schema of YAML 1.2.2 section 10.3.2, so ``no`` is a string and ``0123`` is the number 123 (which a string field then
refuses). Keys are the text that stands there, whatever it looks like. Duplicate keys, tags, anchors, aliases,
directives and a second document are refused; size, depth and the number of values are bounded. Every mistake is a
``ConfigError`` with file and line; one ends the reading, but for keys that are there twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gateway.api.errors import ConfigError
from gateway.runtime import yaml_slips

MAX_OCTETS = 256 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000

Key = tuple[str | int, ...]
"""The way to a value from the top: keys and list positions."""

_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]{1,20}"), int),
    (re.compile(r"0o[0-7]{1,22}"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,16}"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"), float),
    (re.compile(r"[-+]?(\.inf|\.Inf|\.INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.nan|\.NaN|\.NAN"), lambda text: float("nan")),
)


_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
NO_TEXT: Final = "expected text without control characters, or halves of a character: see the escapes in it"
"""By escapes a file can hold what no path and no terminal bears."""


@dataclass(frozen=True, slots=True)
class Document:
    """``data``: plain dicts, lists and scalars. ``lines``: the line (from 1) of each key and list item."""

    file: str
    data: Any
    lines: dict[Key, int] = field(default_factory=dict)


def dotted(key: Key) -> str:
    """The way to a value as people write it: ``adapters.coap.clients.0``."""
    return ".".join(map(str, key))


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar in the core schema."""
    for pattern, make in _SCALARS:
        if pattern.fullmatch(text):
            return make(text)
    return text


def read(path: Path, twice: list[ConfigError] | None = None, *, max_octets: int = MAX_OCTETS) -> Document:
    """Read a file. ConfigError if it can't be opened, is too large, isn't UTF-8 or isn't strict YAML."""
    try:
        with path.open("rb") as stream:
            octets = stream.read(max_octets + 1)
    except OSError as error:
        raise ConfigError("", f"expected a readable file: {error.strerror}", file=str(path)) from None
    if len(octets) > max_octets:
        raise ConfigError("", f"expected at most {max_octets} octets", file=str(path))
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError("", "expected UTF-8 text", file=str(path), line=line) from None
    return parse(text, str(path), twice)


def parse(text: str, file: str, twice: list[ConfigError] | None = None, *, max_nodes: int = MAX_NODES) -> Document:
    """Parse one document. ``file`` only names it in errors.

    ``twice`` takes the mistakes about keys that are there a second time, and the first value counts; without it they
    are raised as every other mistake. ``max_nodes``: keys, values and lists in all.
    """
    document = Document(file, None)
    events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
    try:
        data = _Builder(document, events, twice, max_nodes).document()
    except MarkedYAMLError as error:
        line, expected = yaml_slips.explained(error, text)
        raise ConfigError("", expected, file=file, line=line) from None
    except (YAMLError, YAMLStreamError, ValueError) as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        raise ConfigError("", "expected YAML: a character that it doesn't allow", file=file, line=line) from None
    return Document(file, data, document.lines)


class _Builder:
    """Builds plain values from parser events; a class because the parts recurse over shared counters."""

    def __init__(
        self, document: Document, events: Iterator[Event], twice: list[ConfigError] | None, max_nodes: int
    ) -> None:
        self._max_nodes = max_nodes
        self._document = document
        self._twice = twice
        self._events = events
        self._nodes = 0

    def document(self) -> Any:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, StreamEndEvent):
            return None
        if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            raise self._mistake((), "expected no YAML directive", event)
        data = self._value((), next(self._events))
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, StreamEndEvent):
            raise self._mistake((), "expected one document, not several", event)
        return data

    def _mistake(self, key: Key, expected: str, event: Event) -> ConfigError:
        return ConfigError(dotted(key), expected, file=self._document.file, line=event.start_mark.line + 1)

    def _value(self, key: Key, event: Event) -> Any:
        self._nodes += 1
        self._document.lines.setdefault(key, event.start_mark.line + 1)
        if self._nodes > self._max_nodes:
            raise self._mistake(key, f"expected at most {self._max_nodes} values", event)
        if len(key) > MAX_DEPTH:
            raise self._mistake(key, f"expected at most {MAX_DEPTH} levels", event)
        self._refuse_indirection(key, event)
        if isinstance(event, ScalarEvent):
            if _NO_TEXT.search(event.value):
                raise self._mistake(key, NO_TEXT, event)
            return scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, SequenceStartEvent):
            return self._sequence(key)
        assert isinstance(event, MappingStartEvent)
        return self._mapping(key)

    def _refuse_indirection(self, key: Key, event: Event) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._mistake(key, "expected a value written out: anchors and aliases are not read", event)
        if getattr(event, "tag", None) is not None:
            raise self._mistake(key, "expected a value without a tag", event)

    def _sequence(self, key: Key) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._value((*key, len(items)), event))
        return items

    def _mapping(self, key: Key) -> dict[str, Any]:
        table: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            name = self._name(key, event)
            here = (*key, name)
            if name in table:
                first = self._document.lines[here]
                twice = self._mistake(here, f"expected each key once (first on line {first})", event)
                if self._twice is None:
                    raise twice
                self._twice.append(twice)
                self._value(here, next(self._events))
                continue
            self._document.lines[here] = event.start_mark.line + 1
            table[name] = self._value(here, next(self._events))
        return table

    def _name(self, key: Key, event: Event) -> str:
        self._refuse_indirection(key, event)
        if not isinstance(event, ScalarEvent):
            raise self._mistake(key, "expected keys that are strings", event)
        name: str = event.value
        if not name:
            raise self._mistake(key, "expected a key that isn't empty", event)
        if _NO_TEXT.search(name) or "\n" in name:
            raise self._mistake(key, NO_TEXT, event)
        return name
