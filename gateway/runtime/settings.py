"""The gateway's config file: its form, and all that must hold before a daemon may run from it.

``load`` is the whole of ``check-config``: it reads the config, the policy, finds the adapters and lets each of them
read its credentials, but opens no socket and no device.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.api.errors import ConfigError, CredentialError, PluginError
from gateway.api.hints import did_you_mean
from gateway.api.ports import Adapter, AdapterPlugin
from gateway.api.vocabulary import MergedVocabulary
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import PolicySet
from gateway.runtime import config_errors, device_names, plugins, policy_file, vocabularies
from gateway.runtime.config_source import DEFAULT_SOCKET, DEFAULT_STATE, InvalidConfigError, Source, survey
from gateway.runtime.config_types import Duration, RateText, Size, StrictTable
from gateway.runtime.strict_yaml import Key
from layer import ownership


class GatewayTable(StrictTable):
    """The process itself."""

    name: str = Field(default="gateway", min_length=1, max_length=64, description="Shown in status and logs.")
    state_dir: str = Field(default=DEFAULT_STATE, description="What must survive a restart; mode 0700.")
    admin_socket: str = Field(default=DEFAULT_SOCKET, description="Where atls-gateway status and the like ask; 0600.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged of the gateway; its libraries log warnings only."
    )
    audit_lines: int = Field(default=60, ge=1, le=10_000, description="Refusals logged a minute; the rest is counted.")
    core_dumps: bool = Field(default=False, description="Whether a crash may leave a core file.")
    hide_memory: bool = Field(default=False, description="Let only root trace the process or read its memory.")


_DEFAULTS = EngineLimits()
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class LimitsTable(StrictTable):
    """Bounds of the engine's tables and queues; generous for a home."""

    max_sessions: _Count = Field(default=_DEFAULTS.max_sessions, description="Live sessions.")
    subject_sessions: _Count = Field(default=_DEFAULTS.subject_sessions, description="Live sessions of one opener.")
    subject_opens: RateText = Field(default=_DEFAULTS.subject_opens, description="Sessions that one opener opens.")
    subject_opens_burst: _Count = Field(
        default=_DEFAULTS.subject_opens_burst, description="Of these so many at once, after a pause."
    )
    queue_units: _Count = Field(default=_DEFAULTS.queue_units, description="Units waiting in one direction.")
    queue_octets: Size = Field(default=_DEFAULTS.queue_octets, description="Octets waiting in one direction.")
    total_octets: Size = Field(default=_DEFAULTS.total_octets, description="Octets waiting in all.")
    max_unit: Size = Field(default=_DEFAULTS.max_unit, description="The largest unit.")
    max_datagram: Size = Field(default=_DEFAULTS.max_datagram, description="The largest unit of a DTLS session.")
    max_nonce: _Count = Field(default=_DEFAULTS.max_nonce, description="Octets of an open's nonce.")
    recent_opens: _Count = Field(default=_DEFAULTS.recent_opens, description="Opens remembered.")
    recent_age: Duration = Field(default=_DEFAULTS.recent_age, description="How long an open is remembered.")
    open_timeout: Duration = Field(default=_DEFAULTS.open_timeout, description="The target must take an open in this.")
    close_timeout: Duration = Field(
        default=_DEFAULTS.close_timeout, description="The other end must take a close in this."
    )
    handshake_lifetime: Duration = Field(default=_DEFAULTS.handshake_lifetime, description="A queued handshake unit.")
    unit_lifetime: Duration = Field(default=_DEFAULTS.unit_lifetime, description="Any other queued unit.")
    hold_after: Duration = Field(default=_DEFAULTS.hold_after, description="A unit that waits for longer is stored.")
    unreachable_after: Duration = Field(
        default=_DEFAULTS.unreachable_after, description="A session that can't be delivered for so long ends."
    )
    idle: Duration = Field(default=_DEFAULTS.idle, description="A session without a unit for so long ends.")
    retry_after: Duration = Field(
        default=_DEFAULTS.retry_after, description="The pause that a refusal for a full table asks for."
    )
    max_watches: _Count = Field(default=_DEFAULTS.max_watches, description="Watches of devices.")
    subject_watches: _Count = Field(default=_DEFAULTS.subject_watches, description="Watches of one subject.")
    max_commands: _Count = Field(default=_DEFAULTS.max_commands, description="Commands to devices under way.")
    subject_commands: _Count = Field(default=_DEFAULTS.subject_commands, description="Commands of one subject.")
    device_commands: _Count = Field(default=_DEFAULTS.device_commands, description="Commands to one device.")
    command_timeout: Duration = Field(
        default=_DEFAULTS.command_timeout, description="A command must be done in this, unless its device sleeps."
    )
    command_lifetime: Duration = Field(
        default=_DEFAULTS.command_lifetime, description="A command that waits for a device that sleeps."
    )
    recent_commands: _Count = Field(default=_DEFAULTS.recent_commands, description="Outcomes remembered.")
    max_exchanges: _Count = Field(default=_DEFAULTS.max_exchanges, description="Proxied requests under way.")
    subject_exchanges: _Count = Field(default=_DEFAULTS.subject_exchanges, description="Requests of one subject.")
    exchange_timeout: Duration = Field(
        default=_DEFAULTS.exchange_timeout, description="A proxied request must be answered in this."
    )
    max_body: Size = Field(default=_DEFAULTS.max_body, description="The largest body of a request or an answer.")


class ConfigTable(StrictTable):
    """The config of a gateway. Layer 1 only: an endpoint's config is another file."""

    layer: Literal[1] = Field(description="Always 1.")
    config_version: Literal[1] = Field(alias="config-version", description="The version of this format.")
    gateway: GatewayTable = Field(default=GatewayTable(), description="The process itself.")
    policy: str = Field(min_length=1, description="The policy file; a relative path starts at this file's folder.")
    adapters: dict[str, dict[str, Any]] = Field(
        min_length=1, description="The adapters to run; each key is an installed adapter, each value its own table."
    )
    limits: LimitsTable = Field(default=LimitsTable(), description="Bounds of the engine's tables and queues.")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An adapter that a config names. ``first`` is made while the config is checked; ``make`` makes the next ones."""

    first: Adapter
    make: Callable[[], Adapter]
    table: BaseModel
    files: Mapping[str, bytes]
    """By the keys that end in ``_file``: digests of what is in them, to see that a credential has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a daemon runs from."""

    source: Source
    table: ConfigTable
    limits: EngineLimits
    rules: policy_file.PolicyFile
    names: device_names.DeviceNames
    policy: PolicySet
    """The policy in force: ``rules`` with the devices of ``names``."""
    adapters: Mapping[str, Prepared]
    doubts: tuple[ConfigError, ...] = ()
    """Whose hands the files are in; ``doubts.every`` has these and all others."""

    @property
    def state_dir(self) -> Path:
        return self.source.base / self.table.gateway.state_dir


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read and check everything. Raises InvalidConfigError with every mistake of every table and file."""
    try:
        source = survey(path, environ)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    table, wrong = config_errors.read(ConfigTable, source.data, source)
    found = [*source.found, *(mistake for _, mistake in wrong)]
    tables = source.data.get("adapters")
    tables = tables if isinstance(tables, dict) else {}
    candidates = plugins.installed()
    adapters = _adapters(tables, candidates, source, found)
    rules, names, policy = policy_file.PolicyFile(source, PolicySet()), device_names.NONE, PolicySet()
    words = _words(tables, candidates, source, found)
    named = source.data.get("policy")
    policy_path = path.parent / named if isinstance(named, str) and named else None
    names_path = None if table is None else source.base / table.gateway.state_dir / device_names.FILE
    no_policy = None if policy_path is None else _no_file(policy_path)
    if policy_path is not None and no_policy is None:
        try:
            misspelt = tables.keys() - candidates.keys()  # one mistake, not one more for each of its subjects
            schemes = {*tables, *(candidates if misspelt else ())}
            rules, names = policy_file.read(policy_path, schemes, names_path, words)
            policy = rules.with_names(names)
        except InvalidConfigError as error:
            found.extend(error.errors)
    elif policy_path is not None:
        found.append(source.mistake(("policy",), f"expected a policy file: {policy_path} {no_policy}"))
    if table is None or found:
        raise InvalidConfigError(found)
    assert policy_path is not None
    # Not the names of devices: the state folder is its user's alone, or refused, and that need not be who checks.
    doubts = [*_owners(path, source, ()), *_owners(policy_path, source, ("policy",))]
    for scheme, prepared in adapters.items():
        for key, file in _files(prepared.table.model_dump(by_alias=True), source.base, ""):
            doubts += _owners(file, source, ("adapters", scheme, *key.split(".")))
    limits = EngineLimits(**{name: getattr(table.limits, name) for name in LimitsTable.model_fields})
    return Settings(
        source=source,
        table=table,
        limits=limits,
        rules=rules,
        names=names,
        policy=policy,
        adapters=adapters,
        doubts=tuple(doubts),
    )


def _words(
    tables: Iterable[str], candidates: plugins.Candidates, source: Source, found: list[ConfigError]
) -> MergedVocabulary:
    """The adapters' vocabularies; if they contradict each other, that is a mistake, and the policy is read by ours."""
    try:
        return vocabularies.known_to(tables, candidates)
    except ConfigError as error:
        found.append(config_errors.relocated(error, source, ()))
        return vocabularies.built_in()


def _no_file(path: Path) -> str | None:
    """Why there is no file to read here; None if there is one."""
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "isn't one"
    except (FileNotFoundError, NotADirectoryError):
        return "isn't one"
    except OSError as error:
        return f"can't be opened: {error.strerror}"


def _add(found: list[ConfigError], more: Iterable[ConfigError]) -> None:
    """Add what a later check found, but not of a key that has a mistake already: that one is only its consequence."""
    places = {(mistake.file, mistake.line, mistake.key) for mistake in found}
    found.extend(mistake for mistake in more if (mistake.file, mistake.line, mistake.key) not in places)


def _adapters(
    tables: Mapping[str, Any], candidates: plugins.Candidates, source: Source, found: list[ConfigError]
) -> dict[str, Prepared]:
    prepared: dict[str, Prepared] = {}
    for scheme, values in tables.items():
        key = ("adapters", scheme)
        try:
            plugin = plugins.load(scheme, candidates)
        except PluginError as error:
            meant = "" if scheme in candidates else did_you_mean(scheme, candidates)
            found.append(source.mistake(key, str(error) + meant))
            continue
        if not isinstance(values, dict):
            continue  # reported already
        checked, wrong = config_errors.read(plugin.config_model, values, source, key)
        found.extend(mistake for _, mistake in wrong)
        sound = checked
        if sound is None:  # its files may have mistakes as well
            left = config_errors.without(values, [place for place, _ in wrong])
            sound, _ = config_errors.read(plugin.config_model, left, source, key)
        if sound is None:
            _add(found, _unreadable(values, source, key))
            continue
        make = _maker(plugin, sound, source)
        first = None
        try:
            first = make()
        except* (ConfigError, CredentialError) as group:
            _add(found, [config_errors.from_adapter(error, source, key) for error in config_errors.leaves(group)])
        except* Exception as group:
            _add(found, [source.mistake(key, _fault(plugin, error)) for error in config_errors.leaves(group)])
        if first is not None and checked is not None:
            files = {key: _digest(file) for key, file in _files(checked.model_dump(by_alias=True), source.base, "")}
            prepared[scheme] = Prepared(first, make, checked, files)
    return prepared


def _unreadable(value: Any, source: Source, key: Key) -> Iterator[ConfigError]:
    """The files of a table whose form is too wrong to ask the adapter, as far as they can't be opened."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if not (isinstance(name, str) and name.endswith("_file") and isinstance(inner, str)):
            yield from _unreadable(inner, source, (*key, name))
            continue
        try:
            (source.base / inner).open("rb").close()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no file can have this name"
            yield source.mistake((*key, name), f"expected a readable file: {source.base / inner}: {why}")


def _owners(path: Path, source: Source, key: Key) -> Iterator[ConfigError]:
    """Say who else could change a file that decides who may do what. Keys and passwords are refused then."""
    with contextlib.suppress(OSError):  # whether it must be there is for others to say
        doubtful = ownership.doubt(path)
        if doubtful is not None:
            yield source.mistake(key, f"warning: {path} {doubtful}")


def _maker(plugin: AdapterPlugin, table: Any, source: Source) -> Callable[[], Adapter]:
    return lambda: plugin.configure(table, source.base)


def _fault(plugin: AdapterPlugin, error: BaseException) -> str:
    """The place of a bug in an adapter's ``configure``. The error's own text may quote a credential file."""
    places = [f" at {Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)[-1:]]
    kind = type(plugin)
    return (
        f"expected configure() of {kind.__module__}:{kind.__qualname__} to raise nothing but ConfigError: "
        f"{type(error).__name__}{''.join(places)}"
    )


def _files(value: Any, base: Path, key: str) -> Iterator[tuple[str, Path]]:
    """The files that a table names, by their dotted keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, inner in items:
        here = f"{key}.{name}" if key else str(name)
        if isinstance(name, str) and name.endswith("_file") and isinstance(inner, str):
            yield here, base / inner
        else:
            yield from _files(inner, base, here)


def _digest(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""  # whether it must be readable is the adapter's word
