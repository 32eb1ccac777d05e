"""Requests between two real adapters in the real daemon: what the policy lets pass, answers, and every other end."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.process

RULES = """\
  - id: web
    effect: permit
    subject: phone
    resource: lamp
    action: proxy
    condition: {methods: [GET, PUT], paths: [/state, /sensors/*], exchanges: 1000/min}
  - id: sealed
    effect: permit
    subject: phone
    resource: lamp
    action: proxy
    content: [oscore]
"""


@pytest.fixture
def pair(home):
    home.policy.write_text(home.policy.read_text() + RULES)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    return daemon, home.peer("right", "phone"), home.peer("left", "lamp")


def ask(peer, method, path, **more):
    peer.say("ask", **({"to": "lamp", "method": method, "path": path, "options": []} | more))


def test_a_request_and_its_answer(pair):
    daemon, phone, lamp = pair
    ask(phone, "PUT", "/state", options=[[15, "t=2"], ["accept", "text/plain"]], body="7365637265742d31")
    number = phone.hear()["accepted"]
    heard = lamp.hear()
    assert heard == {
        "kind": "Exchange", "envelope": number, "method": "PUT", "path": "/state",
        "options": [[15, "t=2"], ["accept", "text/plain"]], "body": "7365637265742d31", "sender": "phone",
    }  # fmt: skip
    lamp.say("say", envelope=number, code="2.04", body="7365637265742d32")
    answer = {"receipt": number, "outcome": "delivered", "reason": None, "code": "2.04", "body": "7365637265742d32"}
    assert phone.hear() == answer
    # The kind of a sealed body has a rule of its own; of it the gateway asks no method.
    ask(phone, "POST", "/", body="09", sealed="oscore")
    number = phone.hear()["accepted"]
    assert lamp.hear()["body"] == "09"
    lamp.say("say", envelope=number, code="2.04", body="")
    assert phone.hear()["outcome"] == "delivered"
    assert "secret" not in daemon.log and "7365637265742d" not in daemon.log


def test_what_is_refused(pair):
    daemon, phone, lamp = pair
    for method, path, more, reason in (
        ("DELETE", "/state", {}, "denied"),
        ("GET", "/State", {}, "denied"),
        ("GET", "/state", {"to": "moon"}, "denied"),
        ("GET", "/state", {"to": "phone"}, "denied"),
        ("get", "/state", {}, "content"),
        ("POST", "/", {"sealed": "edhoc"}, "content"),
        ("PUT", "/state", {"options": [[35, "coap://elsewhere/"]]}, "content"),
        ("GET", "/state", {"within": 0}, "expired"),
    ):
        ask(phone, method, path, **more)
        assert phone.hear() == {"refused": reason}, (method, path, more)
    lamp.say("ask", to="phone", method="GET", path="/state", options=[])
    assert lamp.hear() == {"refused": "denied"}
    daemon.wait_log("subject=lamp action=proxy resource=phone rule=default")
    assert "subject=phone action=proxy resource=moon rule=default" in daemon.log


def test_an_answer_that_comes_too_late_counts_no_more(pair):
    daemon, phone, lamp = pair
    ask(phone, "GET", "/state", within=0.05)
    number = phone.hear()["accepted"]
    assert lamp.hear()["envelope"] == number
    assert phone.hear() == {"receipt": number, "outcome": "expired", "reason": None}
    lamp.say("say", envelope=number, code="2.05", body="00")
    ask(phone, "GET", "/sensors/1")
    number = phone.hear()["accepted"]  # and nothing before it
    lamp.hear()
    lamp.say("say", envelope=number, code="2.05", body="01")
    assert phone.hear()["body"] == "01"
    assert "action=proxy resource=lamp rule=web" in daemon.log


def test_an_adapter_that_crashes_leaves_no_request_without_its_end(pair):
    daemon, phone, lamp = pair
    ask(phone, "GET", "/state")
    number = phone.hear()["accepted"]
    lamp.hear()
    lamp.say("crash")
    assert phone.hear() == {"receipt": number, "outcome": "dropped", "reason": "unreachable"}
    daemon.wait_notify("all adapters ready")
    ask(phone, "GET", "/state")
    phone.hear()
    number = lamp.hear()["envelope"]
    phone.say("crash")  # who asked is gone: its request is withdrawn, and an answer finds nobody
    daemon.wait_log("adapter right stopped")
    daemon.wait_notify("all adapters ready")
    lamp.say("say", envelope=number, code="2.05", body="00")
    ask(phone, "GET", "/state")
    number = phone.hear()["accepted"]
    lamp.hear()
    lamp.say("say", envelope=number, code="2.05", body="02")
    assert phone.hear()["body"] == "02"
    assert "a bug: see the log" not in daemon.log


def test_a_peer_that_is_not_there_and_a_reload_that_forbids(pair, home):
    _, phone, lamp = pair
    ask(phone, "GET", "/state")
    number = phone.hear()["accepted"]
    lamp.hear()
    home.policy.write_text(home.policy.read_text().replace("/state, ", ""))
    assert home.cli("reload", "-c", str(home.config)).returncode == 0
    assert phone.hear() == {"receipt": number, "outcome": "dropped", "reason": "denied"}
    lamp.socket.close()
    ask(phone, "GET", "/sensors/1")
    number = phone.hear()["accepted"]
    assert phone.hear() == {"receipt": number, "outcome": "dropped", "reason": "unreachable"}
