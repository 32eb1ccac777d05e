"""``atls-gateway explain``: the verdict of a policy file and what each of its rules has to do with it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.process

NIGHT = """\
  - id: night
    effect: deny
    subject: "*"
    resource: phone
    action: open
    condition: {hours: "23:00-06:00"}
"""


def test_explain_names_the_rule_of_a_permit_and_of_a_denial(home):
    home.policy.write_text(home.policy.read_text() + NIGHT)
    day = home.cli("explain", "lamp", "app", "--at", "12:00", "-c", "gateway.yaml")
    assert (day.returncode, day.stdout.splitlines()) == (
        0,
        [
            "permitted: lamp open phone (adtls, from none): by lamp-out",
            "  lamp-out (permit): holds",
            "  night (deny): doesn't hold: hours",
        ],
    )
    night = home.cli("explain", "lamp", "phone", "--at", "23:30", "-c", "gateway.yaml")
    assert night.stdout.splitlines()[0] == "denied: lamp open phone (adtls, from none): denied, by night"
    back = home.cli("explain", "phone", "lamp", "--at", "12:00", "-c", "gateway.yaml")
    assert back.stdout.splitlines()[:2] == [
        "denied: phone open lamp (adtls, from none): denied, by default",
        "  lamp-out (permit): is about other parties",
    ]


DEVICES = """\
  - id: use
    effect: permit
    subject: phone
    resource: lamp
    action: [read, write]
    condition: {require_link: {min_version: tls1.2}}
  - id: boss
    effect: permit
    subject: phone
    resource: gateway
    action: admin
"""


def test_devices_and_the_gateway_itself(home):
    home.policy.write_text(home.policy.read_text() + DEVICES)

    def explain(*words: str) -> list[str]:
        return home.cli("explain", *words, "-c", "gateway.yaml").stdout.splitlines()

    assert explain("phone", "lamp", "--action", "write", "--link", "tls1.3") == [
        "permitted: phone write lamp (from tls1.3): by use",
        "  boss (permit): is about other actions",
        "  lamp-out (permit): is about other actions",
        "  use (permit): holds",
    ]
    assert explain("phone", "lamp", "--action", "read")[0] == "denied: phone read lamp (from none): link, by use"
    assert explain("phone", "lamp", "--action", "observe")[0].endswith(": denied, by default")
    assert explain("app", "gateway", "--action", "admin")[0] == "permitted: phone admin gateway (from none): by boss"
    assert (
        explain("lamp", "gateway", "--action", "admin")[0]
        == "denied: lamp admin gateway (from none): denied, by default"
    )
    wrong = home.cli("explain", "phone", "lamp", "--action", "admin", "-c", "gateway.yaml")
    assert (wrong.returncode, wrong.stderr) == (1, "lamp: expected one of gateway\n")
    wrong = home.cli("explain", "phone", "gateway", "--action", "write", "-c", "gateway.yaml")
    assert (wrong.returncode, wrong.stderr) == (1, "gateway: expected one of app, lamp, phone\n")


PROXY = """\
  - id: web
    effect: permit
    subject: phone
    resource: lamp
    action: proxy
    condition: {methods: [GET], paths: [/sensors/*, /public/**]}
  - id: sealed
    effect: permit
    subject: phone
    resource: lamp
    action: proxy
    content: [oscore]
  - id: private
    effect: deny
    subject: "*"
    resource: lamp
    action: proxy
    condition: {paths: [/public/secret/**]}
"""


def test_requests_that_are_proxied(home):
    home.policy.write_text(home.policy.read_text() + PROXY)

    def explain(*words: str) -> list[str]:
        ran = home.cli("explain", "phone", "lamp", "-c", "gateway.yaml", *words)
        return ran.stdout.splitlines() or ran.stderr.splitlines()

    def proxy(method: str, path: str, *words: str) -> list[str]:
        return explain("--action", "proxy", "--method", method, "--path", path, *words)

    assert proxy("GET", "/sensors/1") == [
        "permitted: phone proxy lamp (GET /sensors/1, from none): by web",
        "  lamp-out (permit): is about other actions",
        "  private (deny): is about other paths",
        "  sealed (permit): doesn't hold: content",
        "  web (permit): holds",
    ]
    assert proxy("PUT", "/sensors/1")[-1] == "  web (permit): is about other methods"
    assert proxy("GET", "/sensors")[0] == "denied: phone proxy lamp (GET /sensors, from none): denied, by default"
    assert (
        proxy("GET", "/public/secret")[0]
        == "denied: phone proxy lamp (GET /public/secret, from none): denied, by private"
    )
    assert (
        proxy("POST", "/", "--content", "oscore")[0]
        == "permitted: phone proxy lamp (POST /, oscore, from none): by sealed"
    )
    assert explain("--action", "proxy") == ["proxy: expected the method and the path of a request as well"]
    assert explain("--method", "GET") == ["a method and a path are of the action proxy only"]
    assert proxy("get", "/") == ["get: expected a method in upper case, such as GET or POST"]
    assert proxy("GET", "/a/..")[0].startswith("/a/..: expected a path without dot segments")


def test_a_question_that_makes_no_sense(home):
    unknown = home.cli("explain", "lamp", "moon", "-c", "gateway.yaml")
    assert (unknown.returncode, unknown.stderr) == (1, "moon: expected one of app, lamp, phone\n")
    assert home.cli("explain", "lamp", "phone", "--at", "25:00", "-c", "gateway.yaml").returncode == 2
    home.policy.write_text("layer: 0\n")
    assert home.cli("explain", "lamp", "phone", "-c", "gateway.yaml").returncode == 78
