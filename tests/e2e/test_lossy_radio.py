"""Layer 0 over a radio that loses, duplicates and reorders: octets stay identical, and the counters prove the drops.

Loss applies to each radio transmission, before APS tries again. The seeds are given to the running simulator one after
the other; under each a device opens a session, handshakes and sends both ways.
"""

from __future__ import annotations

import hashlib

import pytest

from demo.process import Process
from demo.scenario import Variant, layer0, tunnel
from demo.stack import LAMP, Stack
from endpoint.control import made_octets
from tests.e2e.orders import control
from tests.e2e.shared_hub import StartHub

SEEDS = 20
SIZES = (1, 64, 1500)
RADIO = ("--loss", "0.1", "--duplicate", "0.1", "--reorder", "0.1", "--delay", "0.2-2", "--hold", "0.01")


async def lost(stack: Stack) -> dict[str, int]:
    """What the lamp's two links did so far, added up."""
    links = next(iter((await control(stack, "counters", LAMP)).values()))
    return {name: links["up"][name] + links["down"][name] for name in links["up"]}


async def exchange(sender: Process, receiver: Process, size: int, seed: int, session: int) -> None:
    digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
    sender.tell(do="send", session=session, size=size, seed=seed)
    sent = await sender.expect_event("sent", sha256=digest, seconds=120)
    assert sent["status"] == "delivered"
    assert await receiver.expect_event("received", sha256=digest, seconds=5)


@pytest.mark.process
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("variant", "target"), [("dtls-psk", "phone"), ("dtls-x509", "app")])
async def test_twenty_seeds(start_hub: StartHub, variant: Variant, target: str) -> None:
    stack = await start_hub("--ack-wait", "0.02")
    files = layer0(stack, variant)
    if target == "phone":
        other = await stack.start_phone("phone", files.phone)
    else:
        other = await stack.start_application("app", "app", files.app)
    lamp = await stack.start_device("lamp7", LAMP, files.lamp)
    await control(stack, "radio", *RADIO)
    first = before = await lost(stack)
    for seed in range(SEEDS):
        await control(stack, "seed", str(1000 + seed))
        lamp.tell(do="open", to=tunnel(variant, target))
        await lamp.expect_event("session", session=seed, seconds=90)
        await other.expect_event("session", session=seed, seconds=30)
        for number, size in enumerate(SIZES):
            await exchange(lamp, other, size, 100 * seed + 2 * number, seed)
            await exchange(other, lamp, size, 100 * seed + 2 * number + 1, seed)
        after = await lost(stack)
        assert after["lost"] > before["lost"], f"seed {seed}: the radio lost nothing"
        before = after
        lamp.tell(do="close", session=seed)
        assert (await other.expect_event("ended", session=seed))["clean"]
    for counter in ("duplicated", "reordered"):
        assert before[counter] - first[counter] > SEEDS, f"the radio has hardly {counter} anything"


@pytest.mark.process
@pytest.mark.timeout(400)
async def test_64_kib_once_each_way(start_hub: StartHub) -> None:
    stack = await start_hub("--ack-wait", "0.02")
    files = layer0(stack, "dtls-psk")
    phone = await stack.start_phone("phone", files.phone)
    lamp = await stack.start_device("lamp7", LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
    await control(stack, "radio", *RADIO)
    await lamp.expect_event("session", session=0, seconds=90)
    before = await lost(stack)
    await exchange(lamp, phone, 65536, 1, 0)
    await exchange(phone, lamp, 65536, 2, 0)
    after = await lost(stack)
    assert after["lost"] - before["lost"] > 100
