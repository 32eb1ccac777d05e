"""Why a policy permits or denies something: the judgement of the engine, put in words. Asks no daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.api.errors import ConfigError, PeerError
from gateway.api.exchanges import known_method, parse_path, path_text
from gateway.api.hints import did_you_mean
from gateway.api.model import ContentKind, LinkSecurity
from gateway.engine.decision import AccessRequest, Deny, explain
from gateway.engine.policy import GATEWAY, SESSION_ACTIONS, Action, PolicySet
from gateway.runtime import device_names, policy_file
from gateway.runtime.config_source import InvalidConfigError, Source, read_config, state_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May ``sender`` do ``action`` towards ``receiver`` (a name or an alias)? ``link``: the protocol of its hop.

    ``content``: of a session (None: DTLS records), or of the sealed body of a request that is proxied (None: it has
    none). What admin is about is the gateway itself, by its reserved name. ``method`` and ``path``: of proxy.
    """

    sender: str
    receiver: str
    action: Action
    content: str | None = None
    link: str | None = None
    minute: int | None = None
    method: str | None = None
    path: str | None = None


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
    """The lines of an explanation; the first is the verdict. ValueError: a name that the policy doesn't have, or a
    request that none can be.
    """
    action, content = question.action, None
    if action in SESSION_ACTIONS:
        content = _kind(question.content or "adtls", policy)
    elif action is Action.PROXY and question.content is not None:
        content = _kind(question.content, policy)
    path = _path(question)
    receivers = {GATEWAY: GATEWAY} if action is Action.ADMIN else policy.aliases
    for name, known in ((question.sender, policy.aliases), (question.receiver, receivers)):
        if name not in known:
            raise ValueError(f"{name}: expected one of {', '.join(sorted(known))}")
    sender, receiver = policy.aliases[question.sender], receivers[question.receiver]
    claim = policy.vocabulary.claim_of(policy.by_name[receiver].claim) if receiver in policy.by_name else None
    if claim is not None and claim.cast:
        raise ValueError(f"{receiver} is a group: its rights are those to each of its members, so ask for one of these")
    link = question.link or policy.vocabulary.usual_link(policy.by_name[sender].link)
    found = explain(
        AccessRequest(
            action=action,
            sender=sender,
            receiver=receiver,
            content=content,
            link=LinkSecurity(protocol=link, authenticated=True),
            minute=_minute_now() if question.minute is None else question.minute,
            method=question.method,
            path=path,
        ),
        policy,
    )
    kind = "" if content is None else f"{content.value}, "
    what = "" if path is None else f"{question.method} {path_text(path)}, "
    asked = f"{sender} {action.value} {receiver} ({what}{kind}from {link})"
    if isinstance(found.decision, Deny):
        yield f"denied: {asked}: {found.decision.reason.value}, by {found.decision.rule}"
    else:
        yield f"permitted: {asked}: by {', '.join(found.decision.rules)}"
    for finding in found.findings:
        yield f"  {finding.rule} ({finding.effect.value}): {_in_words(finding.note)}"


def _path(question: Question) -> tuple[str, ...] | None:
    """The path of a request that is proxied, None for what is no request. ValueError: what it lacks."""
    method, path = question.method, question.path
    if question.action is not Action.PROXY:
        if method is not None or path is not None:
            raise ValueError("a method and a path are of the action proxy only")
        return None
    if method is None or path is None:
        raise ValueError("proxy: expected the method and the path of a request as well")
    if not known_method(method):
        raise ValueError(f"{method}: expected a method in upper case, such as GET or POST")
    try:
        return parse_path(path)
    except PeerError as error:
        raise ValueError(f"{path}: {error}") from None


def _kind(name: str, policy: PolicySet) -> ContentKind:
    """The kind of content that is called so. ValueError: no adapter declares one."""
    known = sorted(kind.value for kind in policy.vocabulary.kinds)
    if name not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return ContentKind(name)


def _in_words(note: str) -> str:
    if not note:
        return "holds"
    if note in ("action", "parties", "direction", "methods", "paths"):
        return f"is about other {note if note.endswith('s') else note + 's'}"
    return f"doesn't hold: {note}"


def _lacking(source: Source, key: str) -> ConfigError:
    return source.mistake((key,), "expected a value: this key is required")


def _minute_now() -> int:
    local = time.localtime()
    return local.tm_hour * 60 + local.tm_min
