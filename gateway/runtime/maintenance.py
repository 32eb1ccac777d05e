"""Commands for an adapter while the gateway does not run: they hold the state folder as the daemon would.

Only the adapter's own table of the config is validated: a command runs outside of the service and may not be able to
read the credentials of other adapters.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.api.errors import ConfigError, CredentialError, PeerError, PluginError
from gateway.api.ports import MaintainedPlugin
from gateway.runtime import config_errors, guard, harden, plugins, state_folder
from gateway.runtime.config_source import InvalidConfigError, Source, read_config
from gateway.runtime.settings import GatewayTable

Tell = Callable[[str], None]


class RunningError(Exception):
    """The gateway runs, so its state is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """An adapter of a config that can be maintained, and the state folder of the gateway."""

    scheme: str
    plugin: MaintainedPlugin
    table: Any
    base: Path
    state_dir: Path

    def carry_out(self, command: str, arguments: Mapping[str, Any], tell: Tell, *, looks: bool) -> Mapping[str, Any]:
        """Do it now. ``looks``: it changes nothing, so the state folder may be missing.

        RunningError; PeerError: why not; ValueError: what was expected of the state folder.
        """
        harden.before_secrets()
        with _held(self.state_dir, looks=looks):
            try:
                return asyncio.run(
                    self.plugin.maintain(self.table, self.base, self.state_dir / self.scheme, command, arguments, tell)
                )
            except OSError as error:
                raise PeerError(f"{error.filename or self.state_dir}: {error.strerror}") from error


def load(path: Path, environ: Mapping[str, str]) -> Maintained:
    """The adapter that can be maintained. InvalidConfigError; PeerError: none of the config's can."""
    guard.install()
    try:
        source = read_config(path, environ, credentials=False)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    gateway = config_errors.validated(GatewayTable, source.data.get("gateway") or {}, source, ("gateway",))
    tables = source.data.get("adapters")
    candidates = plugins.installed()
    for scheme, values in (tables if isinstance(tables, dict) else {}).items():
        key = ("adapters", scheme)
        try:
            plugin = plugins.load(scheme, candidates)
        except PluginError as error:
            raise InvalidConfigError([source.mistake(key, str(error))]) from None
        if isinstance(plugin, MaintainedPlugin):
            table = _checked(plugin, values, source, scheme)
            return Maintained(
                scheme=scheme,
                plugin=plugin,
                table=table,
                base=source.base,
                state_dir=source.base / gateway.state_dir,
            )
    raise PeerError("no adapter of this config keeps a network")


def _checked(plugin: Any, values: object, source: Source, scheme: str) -> Any:
    key = ("adapters", scheme)
    table = config_errors.validated(plugin.config_model, values, source, key)
    try:
        plugin.configure(table, source.base)
    except (ConfigError, CredentialError) as error:
        raise InvalidConfigError([config_errors.from_adapter(error, source, key)]) from None
    return table


@contextmanager
def _held(state_dir: Path, *, looks: bool) -> Iterator[None]:
    if looks and not state_dir.exists():
        yield
        return
    root = os.geteuid() == 0
    if not (root and state_dir.exists()):
        harden.folder(state_dir)
    try:
        lock = harden.lock(state_dir / "lock")
    except harden.InUseError:
        raise RunningError from None
    try:
        if why := harden.link_in(state_dir):
            raise PeerError(why)
        if why := state_folder.refusal(state_dir):
            raise PeerError(f"{state_dir}: {why}")
        try:
            yield
        finally:
            if root:
                _hand_over(state_dir)
    finally:
        os.close(lock)


def _hand_over(state_dir: Path) -> None:
    """What root made in the folder of another user is that user's: the service must be able to open it."""
    owner = state_dir.stat()
    if owner.st_uid == 0:
        return
    for path in state_dir.rglob("*"):
        if path.lstat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
