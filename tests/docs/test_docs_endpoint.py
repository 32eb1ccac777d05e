"""docs/endpoint.md against the command: options, keys, commands, events, and its examples between two sessions."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web

from carriage.coap.config import CoapConfig
from demo.credentials import Authority, write_secret
from demo.process import Process
from demo.stack import command, free_port
from endpoint import cli, control, policy, report
from endpoint.session import Ended, EndpointSession, Established, SessionEvent
from layer.config import Role

COMMANDS: dict[str, click.Command] = {"device": cli.device, "app": cli.app, "serve": cli.serve}


def options(command: click.Command) -> set[str]:
    return {opt for param in command.params for opt in param.opts}


def options_in(page: Any, sentence: str) -> set[str]:
    assert page.text.count("\n" + sentence) == 1
    below = type(page)(page.name, page.text.partition("\n" + sentence)[2])
    return {row[0].strip("`").split()[0] for row in below.rows("option")}


def test_options(endpoint_page: Any) -> None:
    common = options(cli.device) & options(cli.app) & options(cli.serve)
    assert options_in(endpoint_page, "Options of all:") == common
    assert options_in(endpoint_page, "Options of `device`:") == options(cli.device) - common - {"--open"}
    assert options_in(endpoint_page, "Options of `app`") == options(cli.app) - common - {"--open"}
    assert options_in(endpoint_page, "Options of `serve`:") == options(cli.serve) - common


@pytest.mark.parametrize(
    ("sentence", "model"),
    [
        ("YAML 1.2 of at most 256 KiB", policy.PolicyFile),
        ("`credentials`. A PSK", policy.CredentialFiles),
        ("`peer`. At least one of:", policy.PeerTable),
    ],
)
def test_keys_of_the_policy(endpoint_page: Any, sentence: str, model: Any) -> None:
    below = type(endpoint_page)(endpoint_page.name, endpoint_page.text.partition("\n" + sentence)[2])
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    rows = {row[0].strip("`"): row[-1] for row in below.rows("key")}
    assert set(rows) == set(fields)
    for key, default in rows.items():
        assert (default == "required") == fields[key].is_required(), key
        if default.isdigit():
            assert float(default) == fields[key].default, key


def test_control_commands(endpoint_page: Any) -> None:
    arguments: dict[str, Any] = {"session": 0, "to": "lamp7", "text": "x", "label": "L", "length": 16}
    rows = {row[0].strip("`") for row in endpoint_page.rows("`do`")}
    with pytest.raises(control.PeerError) as refused:
        control.parse_command(b'{"do": "no such command"}')
    text = str(refused.value).partition("expected ")[2].replace(" or ", ", ")
    assert rows == set(text.split(", "))
    for name in rows:
        control.parse_command(json.dumps({"do": name, **arguments}).encode())
    assert endpoint_page.names("json") == {"control-open", "control-send"}
    opened = control.parse_command(endpoint_page.block("json", "control-open").encode())
    assert opened == control.OpenCommand("lamp7")
    sent = control.parse_command(endpoint_page.block("json", "control-send").encode())
    assert sent == control.SendCommand(0, b"dim to 10 percent")


def test_events(endpoint_page: Any) -> None:
    """Each event's keys are enough to write its line of text, and no event is missing."""
    rows = {row[0].strip("`"): row[1].replace("`", "").split(", ") for row in endpoint_page.rows("event")}
    assert set(rows) == set(report._TEXT)
    for event, keys in rows.items():
        stream = io.StringIO()
        report.reporter(as_json=False, stream=stream)(event, **dict.fromkeys(keys, "x"))
        assert stream.getvalue().endswith("\n")
    facts = set(report.message_facts(b"printable"))
    assert facts <= set(rows["sent"])
    assert facts <= set(rows["received"])


def test_exit_codes(endpoint_page: Any) -> None:
    rows = {row[0] for row in endpoint_page.rows("code", "Exit codes")}
    assert rows == {"0", "1", "2", str(cli.EX_UNAVAILABLE), str(cli.EX_CONFIG)}


def test_sizes(endpoint_page: Any) -> None:
    assert CoapConfig().max_body == control.MAX_MESSAGE == 131_072
    assert "131,072" in endpoint_page.text
    assert f"at most {report.SHOWN} octets" in " ".join(endpoint_page.text.split())


def establish(client: policy.Layer0Policy, server: policy.Layer0Policy) -> tuple[list[SessionEvent], ...]:
    """Both ends' events once nothing moves any longer."""
    ends = (
        EndpointSession(Role.CLIENT, client, random=random.Random(1).random),
        EndpointSession(Role.SERVER, server, random=random.Random(2).random),
    )
    for end in ends:
        end.start(0.0)
    moved = True
    while moved:
        moved = False
        for end, other in (ends, ends[::-1]):
            for unit in end.units_to_send():
                other.receive(unit, 0.0)
                moved = True
    return tuple(list(iter(end.next_event, None)) for end in ends)


def written(page: Any, name: str, folder: Path) -> policy.Layer0Policy:
    path = folder / f"{name}.yaml"
    path.write_text(page.block("yaml", name))
    return policy.read_policy(path)


def established(events: list[SessionEvent]) -> Established:
    assert not [event for event in events if isinstance(event, Ended)]
    (found,) = [event for event in events if isinstance(event, Established)]
    return found


def test_the_psk_example(endpoint_page: Any, tmp_path: Path) -> None:
    write_secret(tmp_path / "pair.psk", endpoint_page.block("text", "endpoint-psk-file").encode())
    both = written(endpoint_page, "endpoint-dtls-psk", tmp_path)
    assert (both.kind, both.application) == ("adtls", "coap")
    for events in establish(both, both):
        info = established(events).info
        assert (info.protocol, info.peer.psk_identity) == ("dtls1.2", b"lamp7")


def test_the_certificate_example(endpoint_page: Any, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path, "ca")
    for name in ("lamp7", "app"):
        authority.issue(name)
    lamp = written(endpoint_page, "endpoint-tls-lamp", tmp_path)
    app = written(endpoint_page, "endpoint-tls-app", tmp_path)
    assert lamp.kind == app.kind == "atls"
    at_app, at_lamp = establish(app, lamp)
    assert established(at_app).info.peer.subject_alt_names == ("dns:lamp7",)
    assert established(at_lamp).info.peer.subject_alt_names == ("dns:app",)
    assert established(at_app).info.protocol == "tls1.3"


def test_one_key_for_both_layers_is_refused(endpoint_page: Any, tmp_path: Path) -> None:
    text = endpoint_page.block("text", "endpoint-psk-file")
    write_secret(tmp_path / "pair.psk", text.encode())
    path = tmp_path / "policy.yaml"
    path.write_text(endpoint_page.block("yaml", "endpoint-dtls-psk"))
    with pytest.raises(policy.PolicyError, match="RFC 9257"):
        policy.read_policy(path, layer1_keys=(bytes.fromhex(text.partition(":")[2]),))


async def test_the_example_of_a_web_service(
    endpoint_page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_secret(tmp_path / "pair.psk", endpoint_page.block("text", "endpoint-psk-file").encode())
    (tmp_path / "door.yaml").write_text(endpoint_page.block("yaml", "endpoint-dtls-psk"))
    names: dict[str, Any] = {"__name__": "door"}
    exec(endpoint_page.block("python", "endpoint-mount"), names)  # noqa: S102 - our own page
    runner = web.AppRunner(names["app"])
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    address = f"http://127.0.0.1:{port}/.well-known/atls"
    process = await Process.start(
        "app",
        [command("atls-endpoint"), "app", "--https", address, "--plain", "--policy", "door.yaml", "--json",
         "--open", "door", "--send", "knock", "--leave"],
        tmp_path,
    )  # fmt: skip
    sent = await process.expect_event("sent")
    assert sent["status"] == "failed: the other end read something else"  # it has greeted us instead
    await process.stop()
    await runner.cleanup()


def test_every_example_is_read(endpoint_page: Any) -> None:
    assert set(endpoint_page.blocks) == {
        "control-open", "control-send", "endpoint-psk-file", "endpoint-dtls-psk", "endpoint-tls-lamp",
        "endpoint-tls-app", "endpoint-mount",
    }  # fmt: skip
