"""The sample config and policy that are shipped, and what stays of them without some of the adapters.

The files themselves are the samples, comments and all. Taking an adapter out takes out its table, the subjects that it
would prove, and whatever says nothing without these. Blocks of lines are cut, so the samples keep to a form: what may
go stands on separate lines, a list from which one name may go on one line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.runtime import strict_yaml
from gateway.runtime.strict_yaml import Key

ADAPTERS: Final = ("zigbee", "coap", "mqtt")
_FOLDERS: Final = (Path(__file__).parents[1] / "samples", Path(__file__).parents[2] / "config")
"""In an installed package, and in the source tree."""


def sample(name: str, *, simple: bool = False, without: Collection[str] = ()) -> str:
    """``gateway.yaml`` or ``policy.yaml``. FileNotFoundError: not among the installed files."""
    policy = _read("policy.yaml", simple)
    gone = set(_gone(strict_yaml.parse(policy, "policy").data, without))
    if name == "policy.yaml":
        return _cut(policy, _policy_cuts, gone)
    return _cut(_read(name, simple), _config_cuts, gone | {f"adapter {scheme}" for scheme in without})


def _read(name: str, simple: bool) -> str:
    for folder in _FOLDERS:
        path = folder / "simple" / name if simple else folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(name)


def _gone(policy: Mapping[str, Any], without: Collection[str]) -> Iterator[str]:
    """The names that no client has any longer."""
    subjects = [name for name, subject in policy["subjects"].items() if subject["link"] in without]
    yield from subjects
    yield from (name for name, table in policy.get("resources", {}).items() if table["subject"] in subjects)


def _policy_cuts(policy: Mapping[str, Any], gone: set[str]) -> Iterator[Key]:
    for part in ("subjects", "resources"):
        yield from ((part, name) for name in policy.get(part, {}) if name in gone)
    for at, rule in enumerate(policy["rules"]):
        if any(gone.issuperset(_listed(rule[side])) for side in ("subject", "resource")):
            yield ("rules", at)


def _config_cuts(config: Mapping[str, Any], gone: set[str]) -> Iterator[Key]:
    for scheme, table in config["adapters"].items():
        if f"adapter {scheme}" in gone:
            yield ("adapters", scheme)
        for protocol, target in table.get("protocols", {}).items():
            if target["to"] in gone:
                yield ("adapters", scheme, "protocols", protocol)


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _cut(text: str, cuts: Any, gone: set[str]) -> str:
    if not gone:
        return text
    document = strict_yaml.parse(text, "sample")
    keys = set(cuts(document.data, gone))
    # A table that has nothing left goes, too.
    tables = {key[:-1] for key in keys}
    keys |= {table for table in tables if len(_at(document.data, table)) == sum(key[:-1] == table for key in keys)}
    lines = text.split("\n")
    dropped: set[int] = set()
    for key in keys:
        dropped |= set(_block(lines, document.lines[key] - 1))
    dropped |= set(_examples(lines, gone))
    kept = [_shortened(line, gone) for at, line in enumerate(lines) if at not in dropped]
    return re.sub(r"(\n[^#\n]*:\n)\n+(?= )|\n(\n)\n+", r"\1\2\2", "\n".join(kept)).rstrip("\n") + "\n"


def _at(data: Any, key: Key) -> Any:
    for part in key:
        data = data[part]
    return data


def _block(lines: list[str], first: int) -> range:
    """The lines of what begins at ``first``, with the comments right above it."""
    indent = _indent(lines[first])
    end = next(
        (at for at in range(first + 1, len(lines)) if _is_text(lines[at]) and _indent(lines[at]) <= indent), None
    )
    last = len(lines) if end is None else end
    while last > first + 1 and not _is_text(lines[last - 1]):  # what is above the next one is the next one's
        last -= 1
    while first and lines[first - 1].startswith(" " * indent + "#"):
        first -= 1
    return range(first, last)


def _examples(lines: list[str], gone: set[str]) -> Iterator[int]:
    """Rules that are commented out, of a subject that is gone."""
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and lines[end].lstrip().startswith("#"):
            end += 1
        if any(match[1] in gone for line in lines[at:end] if (match := re.search(r"# +subject: (\w+)", line))):
            yield from range(at, end)
        at = max(end, at + 1)


def _shortened(line: str, gone: set[str]) -> str:
    """Without the names that are gone, in lists on one line."""
    return re.sub(
        r"\[(\w+(?:, \w+)*)\]", lambda found: f"[{', '.join(n for n in found[1].split(', ') if n not in gone)}]", line
    )


def _is_text(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
