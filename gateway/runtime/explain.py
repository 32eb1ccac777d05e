"""Why a policy permits or denies something: the judgement of the engine, put in words. Asks no daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.api.errors import ConfigError
from gateway.api.hints import did_you_mean
from gateway.api.model import ContentKind, LinkSecurity
from gateway.engine.decision import AccessRequest, Deny, explain
from gateway.engine.policy import GATEWAY, SESSION_ACTIONS, Action, PolicySet
from gateway.runtime import device_names, policy_file
from gateway.runtime.config_source import InvalidConfigError, Source, read_config, state_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May ``sender`` do ``action`` towards ``receiver`` (a name or an alias)? ``link``: the protocol of its hop.

    ``content`` counts for sessions only. What admin is about is the gateway itself, by its reserved name.
    """

    sender: str
    receiver: str
    action: Action
    content: str
    link: str | None = None
    minute: int | None = None


def load_policy(path: Path, environ: Mapping[str, str]) -> PolicySet:
    """The policy that a config names, without its adapters or credentials. Raises InvalidConfigError."""
    rules, names = files(path, environ)
    return rules.with_names(names)


def files(path: Path, environ: Mapping[str, str]) -> tuple[policy_file.PolicyFile, device_names.DeviceNames]:
    """The two files of that policy. Raises InvalidConfigError."""
    try:
        source = read_config(path, environ, credentials=False)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    name, adapters = source.data.get("policy"), source.data.get("adapters")
    if not isinstance(name, str) or not isinstance(adapters, dict):
        raise InvalidConfigError([_lacking(source, "adapters" if isinstance(name, str) else "policy")])
    try:
        folder = state_dir(source)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    return policy_file.read(path.parent / name, adapters, folder / device_names.FILE)


def answer(question: Question, policy: PolicySet) -> Iterator[str]:
    """The lines of an explanation; the first is the verdict. ValueError: a name that the policy doesn't have."""
    action = question.action
    content = _kind(question.content, policy) if action in SESSION_ACTIONS else None
    receivers = {GATEWAY: GATEWAY} if action is Action.ADMIN else policy.aliases
    for name, known in ((question.sender, policy.aliases), (question.receiver, receivers)):
        if name not in known:
            raise ValueError(f"{name}: expected one of {', '.join(sorted(known))}")
    sender, receiver = policy.aliases[question.sender], receivers[question.receiver]
    link = question.link or policy.vocabulary.usual_link(policy.by_name[sender].link)
    found = explain(
        AccessRequest(
            action=action,
            sender=sender,
            receiver=receiver,
            content=content,
            link=LinkSecurity(protocol=link, authenticated=True),
            minute=_minute_now() if question.minute is None else question.minute,
        ),
        policy,
    )
    kind = "" if content is None else f"{content.value}, "
    asked = f"{sender} {action.value} {receiver} ({kind}from {link})"
    if isinstance(found.decision, Deny):
        yield f"denied: {asked}: {found.decision.reason.value}, by {found.decision.rule}"
    else:
        yield f"permitted: {asked}: by {', '.join(found.decision.rules)}"
    for finding in found.findings:
        yield f"  {finding.rule} ({finding.effect.value}): {_in_words(finding.note)}"


def _kind(name: str, policy: PolicySet) -> ContentKind:
    """The kind of content that is called so. ValueError: no adapter declares one."""
    known = sorted(kind.value for kind in policy.vocabulary.kinds)
    if name not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return ContentKind(name)


def _in_words(note: str) -> str:
    if not note:
        return "holds"
    if note in ("action", "parties", "direction"):
        return f"is about other {note if note.endswith('s') else note + 's'}"
    return f"doesn't hold: {note}"


def _lacking(source: Source, key: str) -> ConfigError:
    return source.mistake((key,), "expected a value: this key is required")


def _minute_now() -> int:
    local = time.localtime()
    return local.tm_hour * 60 + local.tm_min
