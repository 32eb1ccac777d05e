"""A config judged as the service would read it, by the limits of the systemd unit, since root has fewer.

The unit's user is another one than root, key files come as credentials (systemd.exec(5), LoadCredential=), folders are
hidden or read-only, and devices are closed but for some. Nothing is started and no secret is copied.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.api.errors import ConfigError
from gateway.runtime import settings
from gateway.runtime.config_source import DEFAULT_CONFIG, PREFIX, InvalidConfigError, Source, read_config
from gateway.runtime.service_unit import ServiceUnit
from gateway.runtime.settings import Settings
from gateway.runtime.strict_yaml import Key

DYNAMIC_USER: Final = 61184
"""The first of systemd's dynamic users (systemd.exec(5), DynamicUser=): one that no file is given to."""
_CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"
_PUBLIC: Final = ("ca_file", "certificate_file", "trust_file")
"""What these keys name is no secret; each other file is."""
_HIDDEN: Final = {"ProtectHome": ("/home", "/root", "/run/user"), "PrivateTmp": ("/tmp", "/var/tmp")}  # noqa: S108
_MAJORS: Final = {"ttyUSB": 188, "ttyACM": 166, "ttyAMA": 204, "ttyS": 4}
_PTYS: Final = range(136, 144)
"""Pseudo-terminals, which DevicePolicy=closed lets through."""


def load(path: Path, environ: Mapping[str, str], unit: ServiceUnit) -> Settings:
    """The settings that the service would run from. Raises InvalidConfigError with all mistakes."""
    environ = {key: value for key, value in environ.items() if not key.startswith(PREFIX)} | _environment(unit)
    found: list[ConfigError] = []
    with tempfile.TemporaryDirectory(prefix="atls-gateway-") as folder:
        handed = _hand_over(unit, Path(folder), found)
        try:
            source = read_config(path, environ, credentials=False)
        except ConfigError as error:
            raise InvalidConfigError([error]) from None
        found += _of_the_unit(source, unit, handed)
        keys = {mistake.key for mistake in found}
        loaded = None
        try:
            loaded = settings.load(path, {**environ, "CREDENTIALS_DIRECTORY": folder})
        except InvalidConfigError as error:
            found += [_named(mistake, folder, handed) for mistake in error.errors if mistake.key not in keys]
        if loaded is None or found:
            raise InvalidConfigError(found)
    return loaded


def _environment(unit: ServiceUnit) -> dict[str, str]:
    words = (word for line in unit.all("Environment") for word in shlex.split(line.value))
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def _hand_over(unit: ServiceUnit, folder: Path, found: list[ConfigError]) -> dict[str, Path | None]:
    """The credentials by name, as links in ``folder``. None: one that only systemd can open."""
    handed: dict[str, Path | None] = {}
    for key in ("LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential"):
        handed |= {line.value.partition(":")[0]: None for line in unit.all(key)}
    for line in unit.all("LoadCredential"):
        name, _, origin = line.value.partition(":")
        if not origin.startswith("/"):
            handed[name] = None
            continue
        path = Path(origin)
        if not path.exists():
            missing = f"expected a file: {origin} isn't there, so the service would not start (243/CREDENTIALS); "
            found.append(line.mistake("LoadCredential", f"{missing}make it, or take out the line"))
        handed |= {f"{name}_{each.name}": each for each in path.iterdir()} if path.is_dir() else {name: path}
    for name, target in handed.items():
        if target is not None:
            (folder / name).symlink_to(target)
    return handed


def _of_the_unit(source: Source, unit: ServiceUnit, handed: Mapping[str, Path | None]) -> Iterator[ConfigError]:
    files: dict[Key, Path] = {(): source.path.absolute()}
    policy = source.data.get("policy")
    if isinstance(policy, str):
        files[("policy",)] = source.base / policy
    for key, value in _strings(source.data, ()):
        if not str(key[-1]).endswith("_file"):
            continue
        if not value.startswith(_CREDENTIALS):
            files[key] = source.base / value
            continue
        name = value.removeprefix(_CREDENTIALS)
        line = f"LoadCredential={name}:{DEFAULT_CONFIG.parent}/keys/{name}"
        if name not in handed:
            yield source.mistake(key, f"expected a credential that the unit hands over: add {line} to {unit.name}")
        elif handed[name] is None:
            yield source.mistake(
                key, f"expected a line like {line}: what another line hands over can't be checked here"
            )
    user = _user(unit)
    faults = _opened_as(user, list(files.values()))
    for (key, file), fault in zip(files.items(), faults, strict=True):
        fault = _hidden(file, unit) or fault
        if fault is not None:
            yield source.mistake(
                key, f"expected a file that the service can read: {file}: {fault}; {_way_out(key, file)}"
            )
    yield from _folders(source, unit)
    yield from _devices(source, unit)


def _strings(value: Any, key: Key) -> Iterator[tuple[Key, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if isinstance(inner, str):
            yield (*key, name), inner
        else:
            yield from _strings(inner, (*key, name))


def _way_out(key: Key, file: Path) -> str:
    if not key or key == ("policy",):
        return f"fix it with: chmod 644 {file}, in a folder that everybody may enter"
    if key[-1] in _PUBLIC:
        return f"it is no secret: put it at {DEFAULT_CONFIG.parent}/{file.name}, mode 644"
    line = f"LoadCredential={file.name}:{file}"
    return f"let systemd hand it over: {line} in the unit, {_CREDENTIALS}{file.name} here"


def _user(unit: ServiceUnit) -> int:
    name = unit.last("User")
    if not name or unit.on("DynamicUser"):
        return DYNAMIC_USER if unit.on("DynamicUser") else 0
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return DYNAMIC_USER


def _opened_as(user: int, paths: list[Path]) -> list[str | None]:
    """Why each file can't be opened by this user, or None; found out by a process that becomes it.

    A file that isn't there is no fault here: the reader of the config reports it.
    """
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if user != os.geteuid():
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            os.write(writer, "\n".join(map(_fault, paths)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        lines = answer.read().decode().split("\n")
    os.waitpid(child, 0)
    return [fault or None for fault in lines]


def _fault(path: Path) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except PermissionError as error:
        return f"can't be opened: {error.strerror}"
    except OSError:
        pass
    return ""


def _hidden(file: Path, unit: ServiceUnit) -> str | None:
    for key, folders in _HIDDEN.items():
        if unit.on(key) and any(file.resolve().is_relative_to(folder) for folder in folders):
            return f"the unit hides that folder ({key}=yes)"
    return None


def _folders(source: Source, unit: ServiceUnit) -> Iterator[ConfigError]:
    """The daemon's files must lie in folders that the unit lets it write."""
    if unit.last("ProtectSystem") != "strict":
        return
    open_folders = [Path("/var/lib", name) for name in unit.words("StateDirectory")]
    open_folders += [Path("/run", name) for name in unit.words("RuntimeDirectory")]
    open_folders += [Path(name.lstrip("+-")) for name in unit.words("ReadWritePaths")]
    table = source.data.get("gateway")
    for key in ("state_dir", "admin_socket"):
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str) and not any((source.base / value).is_relative_to(each) for each in open_folders):
            places = " or ".join(map(str, open_folders))
            yield source.mistake(("gateway", key), f"expected a place that the unit lets us write to: below {places}")


def _devices(source: Source, unit: ServiceUnit) -> Iterator[ConfigError]:
    if unit.last("DevicePolicy") not in ("closed", "strict"):
        return
    allowed = {_major(line.value.split()[0]) for line in unit.all("DeviceAllow")}
    for key, value in _strings(source.data.get("adapters"), ("adapters",)):
        major = _major(value) if key[-1] == "path" and value.startswith("/dev/") else None
        if major is not None and major not in allowed and major not in _PTYS:
            way = "systemd/serial-header.conf is a drop-in that adds ttyAMA and ttyS"
            yield source.mistake(key, f"expected a device that the unit's DeviceAllow= lines permit: {way}")


def _major(device: str) -> int | None:
    """The major number of a node, or of a class as DeviceAllow= names it; None: unknown."""
    name = device.removeprefix("char-")
    if name.isdigit():
        return int(name)
    try:
        facts = os.stat(device)  # noqa: PTH116
        return os.major(facts.st_rdev) if stat.S_ISCHR(facts.st_mode) else None
    except OSError:
        return _MAJORS.get(name.removeprefix("/dev/").rstrip("0123456789"))


def _named(mistake: ConfigError, folder: str, handed: Mapping[str, Path | None]) -> ConfigError:
    """The same mistake with the file that the administrator wrote, not our link to it."""
    expected = mistake.expected
    for name, path in handed.items():
        expected = expected.replace(f"{folder}/{name}", str(path))
    return ConfigError(mistake.key, expected, file=mistake.file, line=mistake.line)
