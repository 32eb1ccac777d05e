"""Thing Descriptions over HTTP: of the gateway and of a device, for one client each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.model import (
    ActionAffordance,
    DataSchema,
    DataType,
    DeviceView,
    EventAffordance,
    Forms,
    Join,
    PropertyAffordance,
)
from tests.harness.coap_devices import LEVEL, ON, WARMTH, Device
from tests.harness.http_gateway import Home

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  secret: {link: far, user: secret}
  phone: {link: http, bearer: phone}
  tablet: {link: http, bearer: tablet}
  keeper: {link: http, spki_sha256: "KEEPER"}
rules:
  - {id: all, effect: permit, subject: phone, resource: lamp, action: [read, observe, write, invoke]}
  - {id: looks, effect: permit, subject: tablet, resource: lamp, action: [read]}
"""
TOGGLE = ActionAffordance(name="toggle")
DIM = ActionAffordance(
    name="dim", input=DataSchema(type=DataType.INTEGER), output=DataSchema(type=DataType.INTEGER), idempotent=True
)
PRESS = EventAffordance(name="press", data=DataSchema(type=DataType.STRING))
TRANSITION = PropertyAffordance(name="transition", type=DataType.NUMBER, unit="s", writable=True, readable=False)


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY)
    assert isinstance(found, Home)
    for name in ("lamp", "secret"):
        device, gateway = Device(found.far, name), found.far.gateway
        gateway.submit(
            Join(
                id=gateway.next_id(), source=device.peer, received_at=gateway.now(),
                facts=(("manufacturer", "Acme"), ("model", "L1")), properties=(ON, LEVEL, WARMTH, TRANSITION),
                actions=(TOGGLE, DIM), events=(PRESS,),
            )
        )  # fmt: skip
    return found


async def test_the_directory_links_the_devices_that_the_client_may_use(home: Home) -> None:
    phone = home.client("phone")
    answer = await phone.ask("GET", "/.well-known/wot", Accept="application/td+json")
    assert answer.headers["Content-Type"] == "application/td+json"
    assert answer.json["links"] == [{"rel": "item", "href": f"{phone.base}/td/lamp", "type": "application/td+json"}]
    assert answer.json["securityDefinitions"]["http"]["scheme"] == "bearer"
    nothing = (await home.client(home.keeper).ask("GET", "/.well-known/wot")).json
    assert "links" not in nothing and nothing["title"] == "atls-gateway"


async def test_a_description_has_what_a_client_may_do_and_where(home: Home) -> None:
    phone = home.client("phone")
    made = (await phone.ask("GET", "/td/lamp")).json
    assert (made["title"], made["description"], made["security"]) == ("lamp", "Acme L1", ["http"])
    place = f"{phone.base}/d/lamp"
    level = made["properties"]["level"]
    assert {name: level[name] for name in ("type", "unit", "minimum", "maximum", "observable")} == {
        "type": "number", "unit": "/", "minimum": 0, "maximum": 100, "observable": True,
    }  # fmt: skip
    assert [(each["href"], each["op"]) for each in level["forms"]] == [
        (f"{place}/level/value", ["readproperty"]),
        (f"{place}/level/value", ["observeproperty", "unobserveproperty"]),
        (f"{place}/level", ["writeproperty"]),
    ]
    warmth = made["properties"]["temperature"]
    assert warmth["readOnly"] is True and warmth["@type"] == "lwm2m:ext:3303"
    assert "transition" not in made["properties"]  # of no effect alone
    assert made["forms"][0]["op"] == ["writemultipleproperties"]
    assert made["actions"]["toggle"]["forms"][0]["href"] == f"{place}/toggle{{?key}}"
    assert made["actions"]["toggle"]["uriVariables"] == {"key": {"type": "string", "maxLength": 64}}
    assert made["actions"]["dim"]["forms"][0]["href"] == f"{place}/dim/value"
    assert made["events"]["press"]["data"] == {"type": "string"}


async def test_a_client_sees_no_more_than_it_may_do(home: Home) -> None:
    made = (await home.client("tablet").ask("GET", "/td/lamp")).json
    assert "actions" not in made and "events" not in made and "forms" not in made
    for each in made["properties"].values():
        assert each["readOnly"] is True and each["observable"] is False
        assert [form["op"] for form in each["forms"]] == [["readproperty"]]
    phone = home.client("phone")
    for path in ("/td/secret", "/td/nobody", "/td/", "/td/lamp/more", "/.well-known/wot/lamp"):
        assert (await phone.ask("GET", path)).status == 404, path
    assert (await home.client(home.keeper).ask("GET", "/td/lamp")).status == 404
    assert (await phone.ask("PUT", "/td/lamp", b"{}", Content_Type="application/json")).status == 405
    assert (await phone.ask("GET", "/td/lamp", Accept="text/html")).status == 406
    assert (await phone.ask("GET", "/.well-known/wot?x=1")).status == 400


async def test_forms_of_other_carriages_are_in_one_description(home: Home) -> None:
    def forms(device: DeviceView) -> Forms | None:
        reading = {"href": f"coaps://home/d/{device.name}/on/value", "op": ["readproperty", "observeproperty"]}
        return Forms(
            name="coap",
            security={"scheme": "psk"},
            properties={"on": (reading,)},
            prefixes={"cov": "http://x.example/#"},
        )

    home.far.forms = forms  # type: ignore[attr-defined]
    made = (await home.client("tablet").ask("GET", "/td/lamp")).json
    assert made["securityDefinitions"].keys() == {"http", "coap"} and made["security"] == ["http"]
    own, other = made["properties"]["on"]["forms"]
    assert "security" not in own
    assert other == {"href": "coaps://home/d/lamp/on/value", "op": ["readproperty"], "security": ["coap"]}
    assert made["@context"][2]["cov"] == "http://x.example/#"

    def fails(device: DeviceView) -> Forms | None:
        raise RuntimeError(device.name)

    home.far.forms = fails  # type: ignore[attr-defined]
    assert (await home.client("tablet").ask("GET", "/td/lamp")).status == 200
    assert home.hub.counters["adapter_errors"] == 1
    home.hub.counters["adapter_errors"] = 0  # the books count ours only


async def test_the_config_may_say_where_all_clients_come_in(start: Callable[..., Any]) -> None:
    home = await start(policy=POLICY, advertise="https://gateway.example")
    Device(home.far)
    made = (await home.client("phone").ask("GET", "/td/lamp")).json
    assert made["properties"]["on"]["forms"][0]["href"] == "https://gateway.example/d/lamp/on/value"
    view = home.far.gateway.device(home.far.peer("nobody"), "lamp")
    assert view is None
    (found,) = home.far.gateway.forms(home.hub.engine.all_devices(now=home.hub.now())[0])
    assert found.name == "http" and found.properties["on"][0]["href"] == "https://gateway.example/d/lamp/on/value"
