"""A systemd unit and its drop-ins, read for the settings of its service: systemd.unit(5), systemd.syntax(7).

Of a key that stands more than once all assignments count; an empty one forgets those before it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.api.errors import ConfigError

NAME: Final = "atls-gateway.service"
_FOLDERS: Final = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Line:
    """One assignment, and where it stands."""

    file: str
    number: int
    value: str

    def mistake(self, key: str, expected: str) -> ConfigError:
        return ConfigError(key, expected, file=self.file, line=self.number)


class ServiceUnit:
    """The [Service] section of a unit and its drop-ins: for each key the assignments in force."""

    def __init__(self, name: str, text: str) -> None:
        """``text``: as ``systemctl cat`` prints it, each file behind a line ``# /path``."""
        self.name = name
        self._lines: dict[str, list[Line]] = {}
        file, number, section, whole = name, 0, "", ""
        for line in text.splitlines():
            number += 1
            if line.startswith("# /"):
                file, number, section = line.removeprefix("# "), 0, ""
            if line.startswith(("#", ";")):
                continue
            whole += line.removesuffix("\\")
            if line.endswith("\\"):
                continue
            key, equals, value = (part.strip() for part in whole.partition("="))
            if not equals and key.startswith("["):
                section = key
            elif section == "[Service]" and equals:
                self._set(key, Line(file, number, value))
            whole = ""

    def _set(self, key: str, line: Line) -> None:
        if not line.value:
            self._lines.pop(key, None)
        else:
            self._lines.setdefault(key, []).append(line)

    def all(self, key: str) -> list[Line]:
        return self._lines.get(key, [])

    def words(self, key: str) -> list[str]:
        return [word for line in self.all(key) for word in line.value.split()]

    def last(self, key: str) -> str:
        return self._lines[key][-1].value if key in self._lines else ""

    def on(self, key: str) -> bool:
        return self.last(key) in ("yes", "true", "on", "1")


def read_unit(name: str) -> ServiceUnit:
    """A unit that systemd knows, or the file of one. ConfigError if there is none."""
    if "/" in name:
        try:
            return of_files(Path(name).name, [Path(name), *sorted(Path(f"{name}.d").glob("*.conf"))])
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("", f"expected a readable unit: {error}", file=name) from None
    try:
        command = ["systemctl", "cat", "--no-pager", "--", name]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError("", f"expected systemctl to show it: {error.strerror}", file=name) from None
    if shown.returncode:
        why = shown.stderr.strip().splitlines()[-1:] or ["systemctl cat failed"]
        raise ConfigError("", f"expected a unit of systemd: {why[0]} (--unit takes the path of a file)", file=name)
    return ServiceUnit(name, shown.stdout)


def of_files(name: str, files: Iterable[Path]) -> ServiceUnit:
    """The unit that these files make, in this order. OSError, UnicodeDecodeError: one can't be read."""
    return ServiceUnit(name, "\n".join(f"# {file.absolute()}\n{file.read_text(encoding='utf-8')}" for file in files))


def installed(root: Path = Path("/")) -> ServiceUnit:
    """Ours as the files below ``root`` say, found as systemd would; without settings if there is none."""
    folders = [root / folder for folder in _FOLDERS]
    fragment = next((path for folder in folders if (path := folder / NAME).is_file()), None)
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):  # of one name the first folder's counts
        drop_ins |= {path.name: path for path in (folder / f"{NAME}.d").glob("*.conf")}
    return of_files(NAME, ([fragment] if fragment else []) + [drop_ins[name] for name in sorted(drop_ins)])
