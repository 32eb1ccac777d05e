"""An adapter from outside, with its own words, in the real daemon: nothing in ``gateway/`` knows these words."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.api.errors import ConfigError
from gateway.api.model import LinkRequirement, LinkSecurity, Reason
from gateway.api.vocabulary import TLS_LINKS, Claim, ContentKind, KindWord, MergedVocabulary, Vocabulary
from gateway.engine.decision import AccessRequest, Deny, decide
from gateway.engine.policy import Action, Condition, Effect, PolicySet, Rule, Subject
from gateway.runtime import plugins, policy_file, vocabularies
from gateway.runtime.config_source import InvalidConfigError
from gateway.testing.check_adapter import check_adapter
from tests.harness.running_daemon import ROOT, SITE

PACKAGE = Path(__file__).parent / "foreign_adapter"
DOOR, GUARD = "0a0b0c0d", "11223344"
CONFIG = """\
layer: 1
config-version: 1
gateway: {state_dir: state, admin_socket: admin.sock}
policy: policy.yaml
adapters:
  left: {folder: left}
  wire: {folder: wire}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: left, user: lamp}
  door: {link: wire, badge: 0A-0B-0C-0D}
  guard: {link: wire, badge: "11223344"}
rules:
  - id: reports
    effect: permit
    subject: door
    resource: guard
    direction: from-device
    content: [telegrams]
    condition: {require_link: {min_version: wire-fenced}}
  - id: read-headers
    effect: permit
    subject: guard
    resource: door
    condition: {versions: [dtls1.2]}
  - {id: lamp-to-guard, effect: permit, subject: lamp, resource: guard, direction: to-device}
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as an installer leaves it: its module, and metadata with what its pyproject.toml says."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copy(PACKAGE / "wire_adapter.py", tmp_path)
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("".join(points))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("wire_adapter", None)


@pytest.fixture
def house(home, installed):
    home.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(SITE), str(installed)])
    home.config.write_text(CONFIG)
    home.policy.write_text(POLICY)
    return home


def asked(house, command):
    answer = house.cli(command, "--json", "-c", str(house.config))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


async def test_it_passes_the_conformance_suite(installed):
    plugin = plugins.load("wire", plugins.installed())
    (installed / "place").mkdir()
    assert await check_adapter(plugin, {"folder": "w"}, installed / "place", claim="bdg:00000000", patience=0.2) == []


def test_its_claims_links_and_contents_are_enforced_and_shown(house):
    daemon = house.start()
    daemon.wait_notify("READY=1")
    door, guard, lamp = house.peer("wire", DOOR), house.peer("wire", GUARD), house.peer("left", "lamp")
    for peer in (door, guard):
        peer.say("join", link="wire-buried")
        assert "accepted" in peer.hear()

    opening = {"to": "guard", "nonce": "01", "content": "telegrams"}
    door.say("open", **opening, link="wire-bare")
    assert door.hear() == {"refused": "link"}, "below what the policy asks for, by the plug-in's own order"
    door.say("open", **opening, link="tls1.3")
    assert door.hear() == {"refused": "link"}, "a wire can't be compared with TLS"
    door.say("open", **opening | {"content": "adtls"}, link="wire-buried")
    assert door.hear() == {"refused": "content"}
    door.say("open", **opening | {"content": "unheard-of"}, link="wire-buried")
    assert door.hear() == {"refused": "content"}
    guard.say("open", **opening | {"to": "door"}, link="wire-buried")
    assert guard.hear() == {"refused": "content"}, "a rule without kinds is about those whose records can be seen"

    door.say("open", **opening, link="wire-buried")
    session = door.hear_until("accepted")["session"]
    assert guard.hear() == {"kind": "Open", "session": session, "content": "telegrams"}
    door.say("unit", session=session, content="telegrams", n=0, payload="beef", link="wire-fenced")
    assert "accepted" in door.hear()
    assert guard.hear() == {"kind": "Unit", "session": session, "content": "telegrams", "payload": "beef"}

    lamp.say("open", to="guard", nonce="02")
    assert "accepted" in lamp.hear(), "the guard is a device of a network, so this goes to-device"

    (shown,) = [one for one in asked(house, "sessions")["sessions"] if one["opener"] == "door"]
    assert (shown["opener"], shown["target"], shown["content"]) == ("door", "guard", "telegrams")
    status = asked(house, "status")
    assert status["adapters"]["wire"]["detail"] == {"wires": 2}
    assert "wire" in house.cli("status", "-c", "gateway.yaml").stdout
    devices = {one["name"]: one for one in asked(house, "devices")["devices"]}
    assert devices["door"]["identity"] == f"badge:{DOOR}" and devices["door"]["wire"] == "wire-fenced"


def test_explain_knows_its_words(house):
    def verdict(*arguments):
        answer = house.cli("explain", "door", "guard", *arguments, "-c", str(house.config))
        assert answer.stderr == ""
        return answer.stdout.splitlines()[0]

    assert verdict("--content", "telegrams") == ("permitted: door open guard (telegrams, from wire-fenced): by reports")
    assert verdict("--content", "telegrams", "--link", "wire-bare") == (
        "denied: door open guard (telegrams, from wire-bare): link, by reports"
    )
    assert verdict() == "denied: door open guard (adtls, from wire-fenced): content, by reports"
    wrong = house.cli("explain", "door", "guard", "--content", "telegram", "-c", str(house.config))
    assert wrong.returncode != 0
    assert wrong.stderr.endswith(
        "telegram: expected one of adtls, atls, atls-data, edhoc, oscore, telegrams (did you mean telegrams?)\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("badge: 0A-0B-0C-0D", "bagde: 0A-0B-0C-0D", "5: subjects.door.bagde: expected link or a claim that an adapter "
         "declares: psk_identity, spki_sha256, san, bearer, url, user, broker, eui64, zigbee_group, badge "
         "(did you mean badge?)"),
        ("badge: 0A-0B-0C-0D", "badge: 0A-0B", "5: subjects.door.badge: expected a badge, such as 0A-0B-0C-0D"),
        ("badge: 0A-0B-0C-0D", "user: door", "5: subjects.door.user: expected what a wire peer proves: badge"),
        ("wire-fenced", "wire-fence", "14: rules.reports.condition.require_link.min_version: expected 'tls1.2', "
         "'tls1.3', 'dtls1.2', 'dtls1.3', 'wire-bare', 'wire-fenced' or 'wire-buried' (did you mean wire-fenced?)"),
        ("[telegrams]", "[telegram]", "13: rules.reports.content.0: expected 'atls', 'adtls', 'atls-data', 'oscore', "
         "'edhoc' or 'telegrams' (did you mean telegrams?)"),
    ],
)  # fmt: skip
def test_a_misspelt_word_of_the_plug_in_is_reported_with_the_right_one(house, old, new, message):
    house.policy.write_text(POLICY.replace(old, new))
    answer = house.cli("check-config", "-c", str(house.config))
    assert answer.returncode == 78
    assert f"{house.policy}:{message}" in answer.stderr


def test_a_second_meaning_of_a_word_refuses_the_start_and_names_both_plug_ins(house, installed):
    source = installed / "wire_adapter.py"
    source.write_text(source.read_text().replace('name="wire-bare", family="wire"', 'name="tls1.2", family="wire"'))
    for command in ("check-config", "run"):
        answer = house.cli(command, "-c", str(house.config))
        assert answer.returncode == 78
        assert (
            f"{house.config}:7: adapters.wire: expected one meaning of the link protocol 'tls1.2': "
            "adapters.coap.plugin:CoapPlugin and wire_adapter:WirePlugin declare it differently"
        ) in answer.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('key="badge"', 'key="my badge"', "expected an adapter that loads: wire_adapter:WirePlugin: a claim's key has "
         "at most 32 of a-z, 0-9 and '_', and is not link: 'my badge'"),
        ("api: ClassVar[int] = API_VERSION", "api: ClassVar[int] = 2",
         "expected an adapter for api 3: wire_adapter:WirePlugin was written for 2"),
        ("        return WireAdapter(", '        raise ValueError("a secret")\n        return WireAdapter(',
         "expected configure() of wire_adapter:WirePlugin to raise nothing but ConfigError: ValueError at "
         "wire_adapter.py:LINE"),
    ],
)  # fmt: skip
def test_a_fault_of_the_plug_in_is_reported_as_the_plug_ins(house, installed, old, new, message):
    """In one line, which offers no other name for the adapter: it is spelled right."""
    source = installed / "wire_adapter.py"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    answer = house.cli("check-config", "-c", str(house.config))
    line = text[: text.index(old)].count("\n") + 1
    assert answer.returncode == 78
    assert answer.stderr.splitlines()[0] == f"{house.config}:7: adapters.wire: {message.replace('LINE', str(line))}"


def test_stored_sessions_of_a_kind_no_longer_declared_are_dropped_and_logged(house, installed):
    daemon = house.start()
    daemon.wait_notify("READY=1")
    door, guard = house.peer("wire", DOOR), house.peer("wire", GUARD)
    guard.say("join", link="wire-buried")
    guard.hear()
    door.say("open", to="guard", nonce="01", content="telegrams", link="wire-buried")
    door.hear()
    daemon.process.terminate()
    assert daemon.ended() == 0

    source = installed / "wire_adapter.py"
    source.write_text(source.read_text().replace('KindWord(name="telegrams"', 'KindWord(name="cables"'))
    house.policy.write_text(POLICY.replace("[telegrams]", "[cables]"))
    again = house.start()
    again.wait_notify("READY=1")
    again.wait_log("1 stored session dropped: no adapter declares its kind of content now (telegrams)")
    assert asked(house, "sessions")["sessions"] == []
    again.process.terminate()
    assert again.ended() == 0
    with sqlite3.connect(house.folder / "state" / "store.db") as store:
        assert store.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def test_each_hop_needs_the_version_of_its_family(installed, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "layer: 1\npolicy-version: 1\nsubjects:\n  door: {link: wire, badge: 0A-0B-0C-0D}\n"
        "  phone: {link: coap, psk_identity: phone}\nrules:\n  - {id: r, effect: permit, subject: door,"
        " resource: phone, condition: {require_link: {min_version: [dtls1.2, wire-fenced]}}}\n"
    )
    policy = policy_file.load(path, ("wire", "coap"))

    def judged(sender, receiver, protocol):
        link = LinkSecurity(protocol=protocol)
        asked = AccessRequest(
            action=Action.FORWARD, sender=sender, receiver=receiver, content=ContentKind.ADTLS, link=link
        )
        found = decide(asked, policy)
        return found.reason if isinstance(found, Deny) else found.grants[0].require

    assert judged("door", "phone", "wire-bare") is Reason.LINK
    assert judged("door", "phone", "dtls1.3") is Reason.LINK
    assert judged("door", "phone", "wire-fenced") == LinkRequirement(min_version="dtls1.2")
    assert judged("phone", "door", "dtls1.2") == LinkRequirement(min_version="wire-fenced")
    assert judged("phone", "door", "wire-buried") is Reason.LINK

    path.write_text(path.read_text().replace("[dtls1.2, wire-fenced]", "[dtls1.2, tls1.3]"))
    with pytest.raises(InvalidConfigError, match="min_version: expected one version of each family of protocols"):
        policy_file.load(path, ("wire", "coap"))


def test_words_of_our_adapters_that_are_not_configured_are_known(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "layer: 1\npolicy-version: 1\nsubjects:\n  app: {link: mqtt, user: app}\n  it: {link: mqtt, user: it}\nrules:\n"
        "  - {id: r, effect: permit, subject: app, resource: it, content: [oscore, edhoc, atls-data],"
        " condition: {require_link: {min_version: dtls1.3, link_key: true}}}\n"
    )
    assert policy_file.load(path, ("mqtt",)).rules[0].condition.require_link.min_version == "dtls1.3"


@pytest.mark.parametrize("effect", list(Effect))
def test_undeclared_content_is_denied_by_rules_that_read_records_and_by_a_deny_of_everything(effect):
    strange = ContentKind("unheard-of")
    reads = Condition(versions=frozenset({"dtls1.2"}))
    rules = (
        Rule(id="a", effect=Effect.PERMIT, subjects=("x",), resources=("y",), content=frozenset({strange})),
        Rule(id="b", effect=effect, subjects=("x",), resources=("y",))
        if effect is Effect.DENY
        else Rule(
            id="b", effect=effect, subjects=("x",), resources=("y",), content=frozenset({strange}), condition=reads
        ),
    )
    subjects = (Subject("x", "coap", "psk:x"), Subject("y", "coap", "psk:y"))
    link = LinkSecurity(protocol="dtls1.2")
    asked = AccessRequest(action=Action.OPEN, sender="x", receiver="y", content=strange, link=link)
    for words in (MergedVocabulary(), vocabularies.built_in()):
        policy = PolicySet(subjects=subjects, rules=rules, vocabulary=words)
        assert decide(asked, policy) == Deny(Reason.DENIED, "b")


USER = Claim(key="user", prefix="user", description="Another description.")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (Vocabulary(claims=(replace(USER, prefix="login"),)), "the claim 'user'"),
        (Vocabulary(claims=(replace(USER, normalise=str),)), "the claim 'user'"),
        (Vocabulary(claims=(replace(USER, key="login"),)), "the prefix of claims 'user'"),
        (Vocabulary(links=(replace(TLS_LINKS[0], rank=5),)), "the link protocol 'none'"),
        (Vocabulary(kinds=(KindWord(name="oscore", records=True),)), "the kind of content 'oscore'"),
    ],
)
def test_a_word_with_another_meaning_names_both(words, word):
    ours = vocabularies.of_ours(plugins.installed())
    with pytest.raises(ConfigError) as caught:
        vocabularies.merged(ours | {"their": ("their:PLUGIN", words)})
    assert caught.value.key == "adapters.their"
    assert caught.value.expected.startswith(f"expected one meaning of {word}: adapters.")
    assert caught.value.expected.endswith("and their:PLUGIN declare it differently")


def test_the_same_word_with_the_same_meaning_is_fine():
    ours = vocabularies.of_ours(plugins.installed())
    words = Vocabulary(claims=(USER,), links=TLS_LINKS, kinds=(KindWord(name="atls", records=True),))
    assert vocabularies.merged(ours | {"their": ("their:PLUGIN", words)}).proves("their") == ("user",)


def test_no_plugin_can_declare_records_that_the_gateway_has_no_reader_for():
    with pytest.raises(ConfigError, match="expected records of adtls, atls only: their:PLUGIN declares them for 'x'"):
        vocabularies.merged({"their": ("their:PLUGIN", Vocabulary(kinds=(KindWord(name="x", records=True),)))})


@pytest.mark.parametrize("wrong", ["", "Atls", "a b", "a" * 33, "-a", "ä"])
def test_a_kind_is_a_short_plain_word(wrong):
    with pytest.raises(ValueError, match="expected a kind of content"):
        ContentKind(wrong)


def test_there_is_one_object_for_each_kind():
    assert ContentKind("atls") is ContentKind.ATLS
    own = ContentKind("x-own")
    assert ContentKind("x-own") is own
    assert copy.deepcopy(ContentKind.OSCORE) is ContentKind.OSCORE


def test_the_words_of_our_adapters_need_none_of_their_libraries():
    look = (
        "import sys\nfrom gateway.runtime import vocabularies\nprint(*sorted(vocabularies.built_in().plugins))\n"
        "print([name for name in ('zigpy', 'bellows', 'paho', 'aiohttp', 'OpenSSL') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["coap http mqtt zigbee", "[]"]
