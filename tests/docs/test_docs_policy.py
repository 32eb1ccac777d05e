"""docs/policy.md against the loader: its keys are the models' keys, its examples load, its refusals are the code's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from adapters.zigbee import tunnel_mapping, tunnel_units
from carriage.coap import codes
from carriage.coap.atls_format import REASON_CODES
from carriage.http.atls_format import REASON_STATUS
from carriage.zigbee.tunneling import TunnelStatus
from gateway.api.exchanges import parse_path
from gateway.api.model import ContentKind, LinkSecurity, Peer, Reason
from gateway.engine.decision import AccessRequest, Deny, Permit, decide
from gateway.engine.path_pattern import parse_pattern
from gateway.engine.policy import DEVICE_ACTIONS, GATEWAY, Action, PolicySet
from gateway.runtime import device_names, policy_file, policy_tables, vocabularies
from gateway.runtime.admin_commands import REMOTE

SCHEMES = ("zigbee", "coap", "http", "mqtt")

#: the sentence above each table of keys, and the model it tells of
TABLES: dict[str, type[BaseModel]] = {
    "Top level:": policy_tables.PolicyTable,
    "A subject has `link` and exactly one of the others:": policy_tables.subject_model(vocabularies.built_in()),
    "A group is a list of subject names, or a table:": policy_tables.GroupTable,
    "A resource is another name for a subject": policy_tables.ResourceTable,
    "The keys of a device:": device_names.DeviceTable,
    "A rule:": policy_tables.RuleTable,
    "Conditions. A deny may have `hours` only": policy_tables.ConditionTable,
    "`require_link`. Version and suites": policy_tables.LinkTable,
    "Obligations:": policy_tables.ObligationTable,
}


def keys(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


@pytest.mark.parametrize("sentence", TABLES)
def test_every_key_has_its_row(policy_page: Any, sentence: str) -> None:
    assert policy_page.text.count("\n" + sentence) == 1
    below = type(policy_page)(policy_page.name, policy_page.text.partition("\n" + sentence)[2])
    rows = below.rows("key")
    assert [row[0] for row in rows if not row[0].startswith("`")] == []
    assert {row[0].strip("`") for row in rows} == keys(TABLES[sentence])


def test_defaults(policy_page: Any) -> None:
    rows = {row[0].strip("`"): row[-1] for row in policy_page.rows("key", "Keys")}
    fields = policy_tables.PolicyTable.model_fields.items()
    required = {info.alias or name for name, info in fields if info.is_required()}
    assert {key for key, default in rows.items() if default == "required"} == required


def load(page: Any, name: str, folder: Path) -> PolicySet:
    path = folder / "policy.yaml"
    path.write_text(page.block("yaml", name))
    return policy_file.load(path, SCHEMES)


def request(action: Action, sender: str, receiver: str, **more: Any) -> AccessRequest:
    facts = {"content": ContentKind.ADTLS, "link": LinkSecurity(protocol="zigbee-network-key"), "minute": 12 * 60}
    return AccessRequest(action=action, sender=sender, receiver=receiver, **(facts | more))


def test_the_smallest_example_says_what_the_page_says(policy_page: Any, tmp_path: Path) -> None:
    policy = load(policy_page, "policy-smallest", tmp_path)
    assert isinstance(decide(request(Action.OPEN, "lamp", "phone"), policy), Permit)
    assert isinstance(decide(request(Action.FORWARD, "phone", "lamp"), policy), Permit)
    assert decide(request(Action.OPEN, "phone", "lamp"), policy) == Deny(Reason.DENIED)
    assert policy.name_of(Peer(scheme="coap", claims=("psk:phone",), link=LinkSecurity(protocol="dtls1.2"))) == "phone"


def test_the_household_example_says_what_the_page_says(policy_page: Any, tmp_path: Path) -> None:
    policy = load(policy_page, "policy-home", tmp_path)
    dtls = LinkSecurity(protocol="dtls1.2")
    day = request(Action.OPEN, "tablet", "lamp", link=dtls)
    assert isinstance(decide(day, policy), Permit)
    night = request(Action.OPEN, "tablet", "lamp", link=dtls, minute=23 * 60 + 30)
    assert decide(night, policy) == Deny(Reason.DENIED, "quiet-at-night")
    unknown_time = request(Action.OPEN, "tablet", "lamp", link=dtls, minute=None)
    assert isinstance(decide(unknown_time, policy), Deny)
    # A name of a resource stands for its subject; the meter's frames must be under the link key.
    assert policy.aliases["service"] == "cloud"
    assert decide(request(Action.OPEN, "meter", "cloud"), policy) == Deny(Reason.LINK, "meter-to-service")
    link_key = LinkSecurity(protocol="zigbee-link-key")
    assert isinstance(decide(request(Action.OPEN, "meter", "cloud", link=link_key), policy), Permit)
    wrong_kind = request(Action.OPEN, "phone", "lamp", link=dtls, content=ContentKind.ATLS)
    assert decide(wrong_kind, policy) == Deny(Reason.CONTENT, "people-to-devices")


def test_the_devices_example_says_what_the_page_says(policy_page: Any, tmp_path: Path) -> None:
    policy = load(policy_page, "policy-devices", tmp_path)

    def may(who: str, action: Action, what: str, minute: int = 720, protocol: str = "tls1.3") -> object:
        link = LinkSecurity(protocol=protocol)
        return decide(request(action, who, what, content=None, link=link, minute=minute), policy)

    for action in DEVICE_ACTIONS - {Action.INVOKE}:
        assert isinstance(may("broker", action, "meter"), Permit)
        assert may("broker", action, "meter", protocol="none") == Deny(Reason.LINK, "automation")
    assert may("broker", Action.INVOKE, "meter") == Deny(Reason.DENIED), "write doesn't imply it"
    assert isinstance(may("broker", Action.ADMIN, GATEWAY), Permit)
    assert may("phone", Action.ADMIN, GATEWAY) == Deny(Reason.DENIED)
    assert isinstance(may("phone", Action.READ, "meter"), Permit)
    assert may("phone", Action.OBSERVE, "meter") == may("phone", Action.WRITE, "meter") == Deny(Reason.DENIED)
    assert isinstance(may("phone", Action.WRITE, "lamp"), Permit)
    assert may("phone", Action.WRITE, "lamp", minute=120) == Deny(Reason.DENIED, "lamp-rests-at-night")
    assert isinstance(may("phone", Action.OBSERVE, "lamp", minute=120), Permit)
    # It goes one way only, and it is not about sessions.
    assert may("lamp", Action.WRITE, "phone") == Deny(Reason.DENIED)
    assert decide(request(Action.OPEN, "phone", "lamp"), policy) == Deny(Reason.DENIED)


def test_the_proxy_example_says_what_the_page_says(policy_page: Any, tmp_path: Path) -> None:
    policy = load(policy_page, "policy-proxy", tmp_path)

    def may(method: str, path: str, content: ContentKind | None = None, octets: int = 0) -> object:
        link, parts = LinkSecurity(protocol="dtls1.2"), parse_path(path)
        facts = {"content": content, "link": link, "method": method, "path": parts, "octets": octets}
        return decide(request(Action.PROXY, "phone", "server", **facts), policy)

    assert isinstance(may("GET", "/sensors/1"), Permit)
    assert may("PUT", "/sensors/1") == may("GET", "/sensors") == Deny(Reason.DENIED)
    assert may("GET", "/sensors/1", octets=4097) == Deny(Reason.TOO_LARGE, "read-sensors")
    assert may("GET", "/public/secret/1") == Deny(Reason.DENIED, "no-secrets")
    assert isinstance(may("POST", "/", ContentKind.OSCORE), Permit)
    assert may("POST", "/sensors/1", ContentKind.ATLS) == Deny(Reason.CONTENT, "end-to-end")
    assert may("POST", "/public/secret", ContentKind.OSCORE) == Deny(Reason.DENIED, "no-secrets")
    assert decide(request(Action.OPEN, "phone", "server"), policy) == Deny(Reason.DENIED)


def test_the_table_of_patterns(policy_page: Any) -> None:
    rows = policy_page.rows("pattern", "Requests that are proxied")
    assert [parse_pattern(row[0].strip("`")).text for row in rows] == [row[0].strip("`") for row in rows]
    none, *_, star, rest, every = (parse_pattern(row[0].strip("`")) for row in rows)
    for path, matching in (
        ("/sensors/1", {star, every}),
        ("/sensors/", {every}),
        ("/public", {rest, every}),
        ("/", {none, every}),
    ):
        assert {each for each in (none, star, rest, every) if each.matches(parse_path(path))} == matching


def test_the_commands_of_admin(policy_page: Any) -> None:
    listed = ", ".join(f"`{name}`" for name in sorted(REMOTE)[:-1]) + f" and `{sorted(REMOTE)[-1]}`"
    assert f"commands {listed} over their own carriage" in " ".join(policy_page.text.split())


def test_refusals_per_carriage(policy_page: Any) -> None:
    rows = policy_page.rows("reason", "Refusals")
    assert {row[0].strip("`") for row in rows} == {reason.value for reason in Reason}
    handler = tunnel_units.IncomingUnits
    words: dict[Callable[..., bool], str] = {
        handler._hold: "held back",
        handler._end: "closed",
        handler._over: "closed",
        handler._disown: "error 0",
        handler._overflow: "error 2",
    }
    for name, coap, http, mqtt, opening, unit in rows:
        reason = Reason(name.strip("`"))
        assert coap == codes.dotted(REASON_CODES[reason.value])
        assert http == str(REASON_STATUS[reason.value])
        assert mqtt == name
        status = tunnel_mapping.REFUSALS.get(reason, TunnelStatus.PROTOCOL_NOT_SUPPORTED)
        assert opening == f"status {status.value}"
        assert unit == words[tunnel_units._UNIT_REFUSALS.get(reason, handler._overflow)]


def test_every_example_is_loaded(policy_page: Any) -> None:
    assert policy_page.names("yaml") == {
        "policy-smallest",
        "policy-home",
        "policy-devices",
        "policy-proxy",
        "policy-names",
    }


def test_the_example_of_names_is_what_is_written(policy_page: Any, tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(policy_page.block("yaml", "policy-names"))
    names = device_names.read(path)
    assert device_names.written(names.devices) == path.read_text()
    assert names.devices.keys() == {"attic"}
