"""The gateway forwards what it can't read: after real traffic nothing of layer 0 is in its memory or in its files.

Plaintext of both directions, exported keys, layer-0 PSKs and private keys are looked for in every readable page of the
running gateway and in every file of the installation but the endpoints' own credentials. The controls show that the
search would find them: what the gateway does hold is found, and so is a plaintext that a gateway keeps on purpose.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo.process import Process
from demo.scenario import Variant, layer0, tunnel
from demo.stack import LAMP, OTHER_LAMP, Stack
from tests.e2e import memory
from tests.harness.attackers import coaps_client, held_unit, psk
from tests.harness.http_house import HttpHouse, http_house, meet, session_of

# Both lamps talk: with the phone and with the application, each pair under its own variant of layer 0. The tablet may
# open sessions to a client that never comes: its units stay in the gateway.
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  lamp8: {{link: zigbee, eui64: "{OTHER_LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
  absent: {{link: coap, psk_identity: stranger}}
  app: {{link: mqtt, user: app}}
rules:
  - {{id: lamp7-phone, effect: permit, subject: lamp7, resource: phone}}
  - {{id: lamp8-app, effect: permit, subject: lamp8, resource: app}}
  - {{id: tablet-absent, effect: permit, subject: tablet, resource: absent}}
"""
LABEL = "EXPORTER-canary"
PAIRS: tuple[tuple[Variant, Variant], ...] = (("dtls-psk", "tls-x509"), ("tls-x509", "dtls-psk"))

# A gateway that keeps layer 0's plaintext, as base64 among other text. Its standard input stands for the broken
# encryption by which it would get it.
LEAKY = """
import base64, json, sys, threading
kept = []
def leak():
    octets = bytes.fromhex(json.loads(sys.stdin.readline())["hex"])
    kept.append(base64.b64encode(b"?" + octets + b"!!"))
    print("kept", flush=True)
threading.Thread(target=leak, daemon=True).start()
from gateway.cli.main import main
main()
"""


@pytest.fixture
def start_canary_hub(stack: Stack) -> Callable[..., Awaitable[Stack]]:
    async def start(program: list[str] | None = None) -> Stack:
        stack.write_policy(POLICY)
        await stack.start_simulator("--seed", "1")
        await stack.start_broker(["gateway", "app"])
        stack.write_config(form="never")
        await stack.start_gateway(program=program)
        await stack.ask("permit-join", "--seconds", "254")
        return stack

    return start


async def talk(stack: Stack, variant: Variant, target: str, lamp: str, eui64: str) -> dict[str, bytes]:
    """Have one pair exchange a secret each way and export a key; all that layer 0 alone may know of it."""
    files = layer0(stack, variant)
    if target == "phone":
        peer = await stack.start_phone("phone", files.phone)
    else:
        peer = await stack.start_application("app", "app", files.app)
    device = await stack.start_device(lamp, eui64, files.lamp, "--open", tunnel(variant, target))
    await device.expect_event("session", session=0, seconds=60)
    await peer.expect_event("session", session=0, seconds=10)
    found = {}
    for name, sender in (("up", device), ("down", peer)):
        canary = found[f"{variant} plaintext {name}"] = secrets.token_bytes(48)
        await say(sender, canary)
    device.tell(do="export", session=0, label=LABEL, length=48)
    peer.tell(do="export", session=0, label=LABEL, length=48)
    key = (await device.expect_event("exported"))["hex"]
    assert (await peer.expect_event("exported"))["hex"] == key
    found[f"{variant} exported key"] = bytes.fromhex(key)
    return found | keys_of(files.lamp.parent, variant)


async def say(sender: Process, canary: bytes) -> None:
    count = sum(event.get("event") == "sent" for event in sender.events)
    sender.tell(do="send", session=0, hex=canary.hex())
    assert (await sender.expect_event("sent", count=count + 1, seconds=60))["status"] == "delivered"


def keys_of(directory: Path, variant: Variant) -> dict[str, bytes]:
    """The secrets in the files of one variant: PSKs, and private keys in each form that a program could hold."""
    found = {}
    for path in directory.glob("*.psk"):
        for line in path.read_text().splitlines():
            identity, _, octets = line.partition(":")
            found[f"{variant} PSK of {identity}"] = bytes.fromhex(octets)
    for path in directory.glob("*.key"):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        der, plain = serialization.Encoding.DER, serialization.NoEncryption()
        scalar = key.private_numbers().private_value
        found |= {
            f"{path.name} PKCS8": key.private_bytes(der, serialization.PrivateFormat.PKCS8, plain),
            f"{path.name} SEC1": key.private_bytes(der, serialization.PrivateFormat.TraditionalOpenSSL, plain),
            f"{path.name} scalar": scalar.to_bytes(32, "big"),
            f"{path.name} scalar, little-endian": scalar.to_bytes(32, "little"),
        }
    assert found
    return found


def link_keys(stack: Stack) -> dict[str, bytes]:
    """Layer-1 keys, which the gateway holds and has to hold."""
    assert stack.link_psks is not None
    return {f"link PSK of {identity}": key for identity, key in stack.link_psks.keys.items()}


def files_of(stack: Stack) -> list[Path]:
    """Everything that the installation has written, logs and databases included, but for what the endpoints own."""
    return [path for path in stack.directory.iterdir() if not path.name.startswith("layer0-")]


@pytest.mark.process
@pytest.mark.parametrize(("with_phone", "with_app"), PAIRS)
async def test_nothing_of_layer_0_is_in_the_gateway(
    start_canary_hub: Callable[..., Awaitable[Stack]], with_phone: Variant, with_app: Variant
) -> None:
    stack = await start_canary_hub()
    assert stack.gateway is not None
    pairs = await asyncio.gather(
        talk(stack, with_phone, "phone", "lamp7", LAMP), talk(stack, with_app, "app", "lamp8", OTHER_LAMP)
    )
    layer_0 = pairs[0] | pairs[1]
    names = " ".join(layer_0)
    assert all(word in names for word in ("up", "down", "exported", "PSK", "PKCS8", "SEC1", "scalar"))
    assert all(len(secret) >= 32 for secret in layer_0.values())

    async with coaps_client(stack, psk(stack, "tablet")) as tablet, held_unit(stack, tablet, "absent") as record:
        regions = memory.copy_of_memory(stack.gateway.pid)
    assert sum(len(region.octets) for region in regions) > 10_000_000
    known = link_keys(stack)
    assert {finding.secret for finding in memory.search(regions, known)} == known.keys()
    assert "raw" in {finding.form for finding in memory.search(regions, {"record": record})}
    assert memory.search(regions, layer_0) == []

    files = memory.content_of(files_of(stack))
    read = {Path(region.name).name for region in files}
    assert {"gateway.log", "mosquitto.log", "simulator.log", "zigbee.db", "phone.log", "link.psk"} <= read
    assert {finding.secret for finding in memory.search(files, known)} == known.keys()
    assert memory.search(files, layer_0) == []

    # The sessions that the search looked for are alive: nothing had been wiped before.
    sessions = (await stack.ask("sessions"))["sessions"]
    assert {(each["opener"], each["target"]) for each in sessions} >= {("lamp7", "phone"), ("lamp8", "app")}


async def over_http(house: HttpHouse) -> dict[str, bytes]:
    """Sessions with ends on both sides of the gateway's HTTP: a secret each way, a key; all that layer 0 may know."""
    door, tablet = await house.start_door(), await house.start_client("tablet")
    app = await house.stack.start_application("app", "app", house.layer0, "--open", "tablet", "--open", "door")
    dashboard = await house.start_client("dashboard", "--open", "tablet", "--open", "door")
    found = {}
    for opener in (app, dashboard):
        for target in (tablet, door):
            mine = await session_of(opener, target.name)
            theirs = await meet(opener, mine, target)
            pair = f"{house.protocol} {opener.name} and {target.name}"
            for way, sender, session, receiver in (("up", opener, mine, target), ("down", target, theirs, opener)):
                canary = found[f"{pair} plaintext {way}"] = secrets.token_bytes(48)
                sender.tell(do="send", session=session, hex=canary.hex())
                await receiver.expect_event("received", sha256=hashlib.sha256(canary).hexdigest())
            opener.tell(do="export", session=mine, label=LABEL, length=48)
            found[f"{pair} exported key"] = bytes.fromhex((await opener.expect_event("exported", session=mine))["hex"])
    for line in (house.layer0.parent / "pair.psk").read_text().splitlines():
        found[f"{house.protocol} PSK"] = bytes.fromhex(line.partition(":")[2])
    return found


@pytest.mark.process
async def test_nothing_of_layer_0_is_in_the_gateway_that_carries_it_over_http(tmp_path: Path) -> None:
    async with http_house(tmp_path / "s", "tls1.3") as house:
        stack = house.stack
        layer_0 = await over_http(house)
        assert len(layer_0) == 13 and all(len(secret) >= 32 for secret in layer_0.values())
        assert stack.gateway is not None
        regions = memory.copy_of_memory(stack.gateway.pid)
        known = link_keys(stack) | {"url of the door": house.url.encode()}
        assert {finding.secret for finding in memory.search(regions, known)} == known.keys()
        assert memory.search(regions, layer_0) == []
        files = memory.content_of(files_of(stack))
        assert {"gateway.log", "services.json", "tokens", "store.db"} <= {Path(region.name).name for region in files}
        assert {finding.secret for finding in memory.search(files, known)} == known.keys()
        assert memory.search(files, layer_0) == []
        assert len((await stack.ask("sessions"))["sessions"]) == 4


@pytest.mark.process
async def test_a_gateway_that_keeps_plaintext_of_http_is_caught(tmp_path: Path) -> None:
    async with http_house(tmp_path / "s", "dtls1.2", program=[sys.executable, "-c", LEAKY]) as house:
        assert house.stack.gateway is not None
        layer_0 = await over_http(house)
        assert memory.search(memory.copy_of_memory(house.stack.gateway.pid), layer_0) == []
        leaked = "dtls1.2 dashboard and door plaintext down"
        house.stack.gateway.tell(hex=layer_0[leaked].hex())
        await house.stack.gateway.expect_event("text", text="kept")
        found = memory.search(memory.copy_of_memory(house.stack.gateway.pid), layer_0)
        assert {(finding.secret, finding.form) for finding in found} >= {(leaked, "base64+1")}
        assert {finding.secret for finding in found} == {leaked}


@pytest.mark.process
async def test_a_gateway_that_keeps_plaintext_is_caught(start_canary_hub: Callable[..., Awaitable[Stack]]) -> None:
    stack = await start_canary_hub(program=[sys.executable, "-c", LEAKY])
    assert stack.gateway is not None
    layer_0 = await talk(stack, "dtls-psk", "phone", "lamp7", LAMP)
    assert memory.search(memory.copy_of_memory(stack.gateway.pid), layer_0) == []
    leaked = "dtls-psk plaintext up"
    stack.gateway.tell(hex=layer_0[leaked].hex())
    await stack.gateway.expect_event("text", text="kept")
    found = memory.search(memory.copy_of_memory(stack.gateway.pid), layer_0)
    assert {(finding.secret, finding.form) for finding in found} >= {(leaked, "base64+1")}
    assert {finding.secret for finding in found} == {leaked}
