"""Reload: what each key comes to, in a plan and in the real daemon; all or nothing; reported by command and status."""

from __future__ import annotations

import json
import signal

import pytest

from gateway.runtime import reloading, settings

HERE = ("-c", "gateway.yaml")


@pytest.fixture
def loaded(home, hop_site):
    """Loads the home's config after a replacement in it."""

    def load(old: str = "", new: str = "", **environ: str):
        home.config.write_text(home.config.read_text().replace(old, new, 1) if old else home.config.read_text())
        return settings.load(home.config, environ)

    return load


#: replaced in the config, by what: live keys, keys of adapters, keys that wait
CHANGES = [
    ("name: home", "name: home", (), {}, ()),
    ("name: home", "name: other", (), {}, ("gateway.name",)),
    ("name: home", "log_level: debug", ("gateway.log_level",), {}, ("gateway.name",)),
    ("name: home", "name: home\n  audit_lines: 60", (), {}, ()),  # the default, written out
    ("adapters:", "limits: {idle: 24h, max_unit: 1KiB}\nadapters:", ("limits.max_unit",), {}, ()),
    ("policy: policy.yaml", "policy: other.yaml", ("policy",), {}, ()),
    ("folder: left", "folder: left\n    inner: {depth: 1}", (), {}, ()),
    ("folder: left", "folder: left\n    inner: {depth: 2}", (), {"left": ("adapters.left.inner.depth",)}, ()),
    ("  right:\n    folder: right\n", "", (), {}, ("adapters.right",)),
    ("state_dir: state", "state_dir: other\n  hide_memory: true", (), {}, ("gateway.hide_memory", "gateway.state_dir")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "live", "adapters", "restart"), CHANGES)
def test_a_plan_names_every_key_that_differs(home, loaded, old, new, live, adapters, restart):
    (home.folder / "other.yaml").write_text("layer: 1\npolicy-version: 1\n")
    home.policy.write_text("layer: 1\npolicy-version: 1\n")
    running = loaded()
    fresh = loaded(old, new)
    found = reloading.plan(running, fresh)
    assert (found.live, found.adapters, found.restart) == (live, adapters, restart)
    again = reloading.plan(reloading.merged(running, fresh), fresh)
    assert (again.live, again.adapters, again.restart) == ((), {}, restart)  # what waits for a restart waits on


def test_a_plan_sees_another_content_of_a_credential_file(home, loaded):
    key = home.folder / "key"
    key.touch(mode=0o600)
    running = loaded("folder: right", "folder: right\n    key_file: key")
    assert reloading.plan(running, loaded()).adapters == {}
    key.write_text("other")
    assert reloading.plan(running, loaded()).adapters == {"right": ("adapters.right.key_file",)}


def test_every_key_has_its_place(loaded):
    """A key of the config that no reload looks at would change in silence."""
    found = loaded()
    keys = set(reloading._keys(found))
    models = {"gateway": settings.GatewayTable, "limits": settings.LimitsTable}
    wanted = {f"{name}.{key}" for name, model in models.items() for key in model.model_fields}
    assert keys == wanted | {"policy"}
    assert set(settings.ConfigTable.model_fields) == {"layer", "config_version", "adapters", "policy", *models}


@pytest.mark.process
def test_what_can_change_does_and_the_rest_is_named(home):
    home.config.write_text(home.config.read_text().replace("folder: left", "folder: left\n    key_file: key"))
    (home.folder / "key").touch(mode=0o600)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    lamp, phone = home.peer("left", "lamp"), home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear_until("session")["session"]
    lamp.hear_until("outcome")
    phone.hear_until("sender")

    text = home.config.read_text().replace("name: home", "name: other\n  log_level: debug")
    text = text.replace("folder: right", "folder: right\n    settle: false")
    home.config.write_text(text + "limits: {max_unit: 2}\n")
    (home.folder / "key").write_text("new")
    answer = home.cli("reload", *HERE)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert [line.split(None, 1) for line in answer.stdout.splitlines() if line][1:-1] == [
        ["gateway.log_level", "now"],
        ["limits.max_unit", "now"],
        ["adapters.left.key_file", "adapter restarted"],
        ["adapters.right.settle", "taken on"],
        ["gateway.name", "needs a restart"],
    ]
    assert answer.stdout.endswith("atls-gateway restart\n")
    daemon.wait_notify("RELOADING=1")
    assert "STATUS=waiting for a restart: gateway.name" in daemon.wait_notify("READY=1")
    daemon.wait_log("adapter left is restarted")
    phone.say("unit", session=session, n=0, payload="16fefd")  # the session is still there, and the limit holds
    assert phone.hear() == {"refused": "too-large"}
    status = home.cli("status", *HERE).stdout
    assert status.startswith("home: degraded, ")
    assert "\n  waiting for a restart: gateway.name\n" in status
    states = json.loads(home.cli("status", "--json", *HERE).stdout)["adapters"]
    assert {scheme: state["starts"] for scheme, state in states.items()} == {"left": 2, "right": 1}
    assert home.cli("reload", *HERE).stdout.splitlines()[1].split() == ["gateway.name", "needs", "a", "restart"]


@pytest.mark.process
def test_a_mistake_changes_nothing_and_is_reported_with_its_line(home):
    daemon = home.start()
    daemon.wait_notify("READY=1")
    good = home.config.read_text()
    home.policy.write_text("layer: 1\npolicy-version: 1\n")
    home.config.write_text(good.replace("folder: right", "folder: 8"))
    answer = home.cli("reload", *HERE)
    assert (answer.returncode, answer.stdout) == (78, "")
    assert answer.stderr.startswith(f"{home.config}:12: adapters.right.folder: expected a string")
    assert "old config is in force" in answer.stderr
    assert f"STATUS=the last reload failed, the old config is in force: {home.config}:12: " in daemon.wait_notify(
        "READY=1"
    )
    lamp = home.peer("left", "lamp")
    lamp.say("targets")
    assert lamp.hear() == {"targets": ["app", "phone"]}
    report = json.loads(home.cli("reload", "--json", *HERE).stdout)
    assert (report["ok"], len(report["mistakes"]), report["changes"]) == (False, 1, [])
    assert "the old config is in force" in home.cli("status", *HERE).stdout

    home.config.write_text(good)
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("policy has changed: in force at once")
    daemon.wait_notify("STATUS=all adapters ready")
    lamp.say("targets")
    assert lamp.hear() == {"targets": []}
    assert home.cli("reload", *HERE).stdout == "reloaded; nothing has changed\n"


@pytest.mark.process
def test_a_reload_that_sees_nothing_says_that_systemd_gave_copies_of_the_key_files(home):
    daemon = home.start(CREDENTIALS_DIRECTORY=str(home.folder))
    daemon.wait_notify("READY=1")
    assert home.cli("reload", *HERE).stdout == (
        "reloaded; nothing has changed\n"
        "Key files are copies that systemd made at the start: a new one takes systemctl restart atls-gateway\n"
    )
