"""Config that is right in form and can't work: rules that never apply, names that no peer proves, odd folders.

None of it stops anybody: ``check-config`` prints it behind "good", the daemon logs it once and ``status`` has it. What
an adapter's own table makes impossible is its own word: an adapter may have a method ``doubts(facts)``
(``gateway.api.ports.Adapter``).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.api.errors import ConfigError
from gateway.api.facts import PolicyFacts
from gateway.api.ports import DoubtingAdapter
from gateway.api.vocabulary import MergedVocabulary
from gateway.engine.policy import (
    ADMIN_ACTIONS,
    DEVICE_ACTIONS,
    GROUP,
    PROXY_ACTIONS,
    Action,
    Direction,
    Effect,
    Parties,
    PolicySet,
    Rule,
    Subject,
)
from gateway.runtime import config_errors

if TYPE_CHECKING:
    from gateway.runtime.settings import Settings

_LOG = logging.getLogger(__name__)

WARNING = "warning: "
_MAX_SOCKET_PATH = 107
"""Octets (unix(7), sun_path)."""


def every(found: Settings) -> list[ConfigError]:
    """All doubts about a config and what it names, each at its place, for who is about to run it."""
    socket = found.source.base / found.table.gateway.admin_socket
    places = {"state_dir": _state(found.state_dir), "admin_socket": _socket(socket)}
    warnings = [
        found.source.mistake(("gateway", key), WARNING + text) for key, texts in places.items() for text in texts
    ]
    return [*warnings, *standing(found), *of_adapters(found)]


def standing(found: Settings) -> list[ConfigError]:
    """Those that stay as long as the files do."""
    policy, source = found.policy, found.rules.source
    parties = {rule.id: parties for rule, parties in policy.ordered}
    warnings = [
        source.mistake(("rules", index), f"{WARNING}this rule never applies: {why}")
        for index, rule in enumerate(policy.rules)
        if (why := _why_never(rule, parties[rule.id], policy))
    ]
    return [*found.doubts, *warnings]


def of_adapters(found: Settings) -> Iterator[ConfigError]:
    """Those of the adapters, as things are now."""
    for scheme, prepared in found.adapters.items():
        if not isinstance(prepared.first, DoubtingAdapter):
            continue
        claims = {subject.name: subject.claim for subject in found.policy.subjects if subject.link == scheme}
        for key, text in prepared.first.doubts(PolicyFacts(claims, found.policy.aliases)):
            yield config_errors.relocated(ConfigError(key, WARNING + text), found.source, ("adapters", scheme))


def tell(found: Iterable[ConfigError]) -> None:
    """A line of the log for each."""
    for doubt in found:
        _LOG.warning("%s", str(doubt).replace(": " + WARNING, ": "))


def _state(path: Path) -> Iterator[str]:
    """Why this process's user can't make or use the state folder."""
    try:
        yield from _folder(path)
        if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield f"{path} is open to others, so no gateway will start; fix it with: chmod 700 {path}"
    except OSError as error:
        yield f"{path}: {error.strerror}"


def _socket(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        yield f"{path} is too long for a socket: at most {_MAX_SOCKET_PATH} octets"
    try:
        yield from _folder(path.parent)
    except OSError as error:
        yield f"{path.parent}: {error.strerror}"


def _folder(path: Path) -> Iterator[str]:
    """Why this process's user can't make a folder or write to it."""
    if not path.exists():
        above = next((each for each in path.parents if each.exists()), Path("/"))
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            yield f"{path} isn't there, and this user can't make it in {above}"
    elif not path.is_dir():
        yield f"{path} is no folder"
    elif not os.access(path, os.W_OK | os.X_OK):
        yield f"this user can't write to {path}"


def _why_never(rule: Rule, parties: Parties, policy: PolicySet) -> str:
    """Why a rule can't apply to anything; empty if it can."""
    for names, resolved in ((rule.subjects, parties.subjects), (rule.resources, parties.resources)):
        if not resolved and not _to_be_filled(names, policy):
            return f"{', '.join(names)} names no peer or device"
    subjects = [policy.by_name[name] for name in parties.subjects if name in policy.by_name]
    resources = [policy.by_name[name] for name in parties.resources if name in policy.by_name]
    if rule.actions <= ADMIN_ACTIONS:
        return _never_a_device(subjects, policy.vocabulary)
    if not (subjects and resources):
        return ""  # a group that devices may still come into
    if rule.actions <= DEVICE_ACTIONS:
        words = policy.vocabulary
        if all(resource.link in words.plugins.keys() - words.device_networks for resource in resources):
            return "none of its resources is a device that the gateway reads or sets"
        return _never_a_device(subjects, words)
    if rule.actions <= PROXY_ACTIONS:
        return _only_itself(subjects, resources) or _never_that_secure(rule, subjects, resources, policy.vocabulary)
    words = policy.vocabulary
    return _never_a_session(rule, subjects, resources, words) or _never_that_secure(rule, subjects, resources, words)


def _to_be_filled(names: Iterable[str], policy: PolicySet) -> bool:
    return any(name.removeprefix(GROUP) in policy.assignable for name in names if name.startswith(GROUP))


def _never_a_device(subjects: list[Subject], words: MergedVocabulary) -> str:
    """Why none of the subjects can use a device, in the words of the first one's adapter."""
    claims = [words.claim_of(subject.claim) for subject in subjects]
    reasons = ["" if claim is None else claim.no_devices for claim in claims]
    return reasons[0] if reasons and all(reasons) else ""


def _only_itself(subjects: list[Subject], resources: list[Subject]) -> str:
    same = len({subject.name for subject in (*subjects, *resources)}) == 1
    return "both of its parties are the same" if same else ""


def _never_a_session(rule: Rule, subjects: list[Subject], resources: list[Subject], words: MergedVocabulary) -> str:
    for side in (subjects, resources):
        claims = [words.claim_of(subject.claim) for subject in side]
        reasons = ["" if claim is None else claim.no_sessions for claim in claims]
        if all(reasons):
            return reasons[0]
    if same := _only_itself(subjects, resources):
        return same
    either = Action.FORWARD in rule.actions
    device = {
        Direction.FROM_DEVICE: (*subjects, *(resources if either else ())),
        Direction.TO_DEVICE: (*resources, *(subjects if either else ())),
        Direction.BOTH: (),
    }[rule.direction]
    if rule.direction is not Direction.BOTH and not any(subject.link in words.device_networks for subject in device):
        networks = " or ".join(sorted(words.device_networks)) or "network's"
        return f"with direction {rule.direction.value} one of them has to be a {networks} device"
    return ""


def _never_that_secure(rule: Rule, subjects: list[Subject], resources: list[Subject], words: MergedVocabulary) -> str:
    require = rule.condition.require_link
    if rule.effect is not Effect.PERMIT:
        return ""
    for wanted in (require.min_version, *require.other_versions):
        for side in (subjects, resources):
            reasons = [words.too_much(subject.link, wanted) for subject in side]
            if all(reasons):
                return reasons[0]
    return ""
