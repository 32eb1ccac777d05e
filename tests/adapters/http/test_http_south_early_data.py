"""Requests that a proxy took as early data (RFC 8470): what is answered, and that nothing comes of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adapters.http.config import HttpTable
from tests.harness.coap_devices import Device
from tests.harness.gateway_in_loop import record
from tests.harness.http_gateway import Home, Start

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: http, bearer: phone}
  keeper: {link: http, spki_sha256: "KEEPER"}
rules:
  - {id: all, effect: permit, subject: phone, resource: lamp, action: [read, observe, write, invoke]}
"""
EARLY = {"Early-Data": "1"}
OPEN = "/atls?to=lamp&nonce=" + "ab" * 8


@pytest.fixture
async def home(start: Start) -> Home:
    return await start(policy=POLICY, early_data_from=["127.0.0.0/8"])


@pytest.mark.parametrize("value", ["1", "0", "nonsense", "1, 1"])
@pytest.mark.parametrize("listed", [[], ["127.0.0.1"]])
async def test_what_has_an_effect_is_put_off_from_listed_proxies_too(
    start: Start, listed: list[str], value: str
) -> None:
    home = await start(early_data_from=listed)
    answer = await home.client("phone").ask("POST", OPEN, record(), Early_Data=value)
    assert (answer.status, answer.reason) == (425, "too-early")
    assert not home.far.orders and home.adapter.status()["clients"] == 0
    assert home.adapter.status()["too_early"] == 1


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        ([], 425),
        (["127.0.0.1"], 200),
        (["::ffff:127.0.0.1", "127.0.0.0/8"], 200),
        (["127.0.0.2"], 425),
        (["::/0"], 425),
        (["0.0.0.0/0"], 200),
    ],
)
async def test_a_known_value_is_answered_to_the_proxies_that_the_config_lists(
    start: Start, listed: list[str], status: int
) -> None:
    home = await start(policy=POLICY, early_data_from=listed)
    Device(home.far).tell(level=40)
    answer = await home.client("phone").ask("GET", "/d/lamp/level", **EARLY)
    assert answer.status == status
    if status == 425:
        assert "early_data_from" in answer.json["detail"]


async def test_what_a_replay_may_ask_for(home: Home) -> None:
    lamp = Device(home.far)
    lamp.tell(level=40)
    phone = home.client("phone")
    found = {
        (method, target): (await phone.ask(method, target, **EARLY)).status
        for method, target in (
            ("GET", "/d"), ("GET", "/d/lamp"), ("GET", "/d/lamp/level"), ("HEAD", "/d/lamp/level"),
            ("GET", "/d/nothing"), ("GET", "/d/lamp/on"), ("GET", "/atls/inbox"), ("GET", "/atls/" + "0" * 32),
            ("POST", "/atls/" + "0" * 32), ("DELETE", "/atls/" + "0" * 32), ("PUT", "/d/lamp/level"),
            ("POST", "/d/lamp/toggle"), ("GET", "/elsewhere"),
        )
    }  # fmt: skip
    good = [("GET", "/d"), ("GET", "/d/lamp"), ("GET", "/d/lamp/level"), ("HEAD", "/d/lamp/level")]
    assert found.pop(("GET", "/d/nothing")) == 404
    assert {each: found.pop(each) for each in good} == dict.fromkeys(good, 200)
    assert set(found.values()) == {425}
    for stream in ("/d", "/d/lamp"):
        assert (await phone.ask("GET", stream, Accept="text/event-stream", **EARLY)).status == 425
    assert (await phone.ask("GET", "/d/lamp/level", b"with a body", **EARLY)).status == 425
    assert not home.far.orders, "the device was asked for nothing, not even for the value that is not known"


async def test_a_replay_does_not_make_its_client_count_as_there(home: Home) -> None:
    Device(home.far).tell(level=40)
    phone = home.client("phone")
    assert (await phone.ask("GET", "/d/lamp/level", **EARLY)).status == 200
    assert home.adapter.status()["clients"] == 0
    assert (await phone.ask("GET", "/d/lamp/level")).status == 200
    assert home.adapter.status()["clients"] == 1


async def test_early_data_needs_the_same_proof_and_the_same_policy(home: Home) -> None:
    Device(home.far).tell(level=40)
    assert (await home.client(None).ask("GET", "/d/lamp/level", **EARLY)).status == 401
    assert (await home.client("tablet").ask("GET", "/d/lamp/level", **EARLY)).status == 404
    page = {"Origin": "https://app.example"} | EARLY
    assert (await home.client(home.keeper).ask("GET", "/d/lamp/level", **page)).status == 403
    assert (await home.client("phone").ask("GET", "/d/lamp", Host="evil.example", **EARLY)).status == 421


async def test_the_list_may_change_while_the_adapter_runs(home: Home) -> None:
    Device(home.far).tell(level=40)
    phone = home.client("phone")
    assert (await phone.ask("GET", "/d/lamp", **EARLY)).status == 200
    assert home.adopted(early_data_from=[])
    assert (await phone.ask("GET", "/d/lamp", **EARLY)).status == 425
    assert (await phone.ask("GET", "/d/lamp")).status == 200


@pytest.mark.parametrize("listed", ["proxy.example", "192.0.2.1/24", "2001:db8::/129", ""])
def test_a_name_or_a_network_that_is_none_is_a_mistake_of_the_config(listed: str) -> None:
    table = {"listen": "[::]", "certificate_file": "c", "key_file": "k", "tokens_file": "t"}
    with pytest.raises(ValidationError, match="expected an address, or a network such as"):
        HttpTable.model_validate({**table, "early_data_from": [listed]})
