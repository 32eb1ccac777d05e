"""Thing Descriptions over CoAP: of the gateway and of a device, for one client each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request
from carriage.coap.link_format import read_links
from carriage.coap.udp import local_address
from gateway.api.model import DataType, PropertyAffordance
from tests.harness.coap_devices import POLICY, Device, get
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import until

TD = 432


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY)
    assert isinstance(found, Home)
    return found


async def asked(client: CoapsClient, path: str, accept: int | None = None, host: str = "") -> Any:
    request = get(path, accept)
    if host:
        request = Request(request.code, ((opt.URI_HOST, host.encode()), *request.options))
    response = await client.request(request)
    assert response.code == codes.CONTENT, response
    assert opt.first_uint(response.options, opt.CONTENT_FORMAT) == TD
    return json.loads(response.payload)


async def test_the_directory_and_the_descriptions_behind_it(home: Home) -> None:
    Device(home.far)
    Device(home.far, "secret")
    phone = await home.client("phone")
    (link,) = (await asked(phone, ".well-known/wot"))["links"]
    assert link == {"rel": "item", "href": f"coaps://127.0.0.1:{home.port}/td/lamp", "type": "application/td+json"}
    made = await asked(phone, "td/lamp", TD)
    assert made["securityDefinitions"] == {"coap": {"scheme": "psk"}} and made["properties"].keys() >= {"on", "level"}
    on = made["properties"]["on"]
    place = f"coaps://127.0.0.1:{home.port}/d/lamp/on"
    assert [(each["href"], each["op"]) for each in on["forms"]] == [
        (f"{place}/value", ["readproperty", "observeproperty", "unobserveproperty"]),
        (place, ["writeproperty"]),
    ]
    assert on["forms"][0]["subprotocol"] == "cov:observe" and on["forms"][1]["cov:method"] == "PUT"
    tablet = await home.client("tablet")  # it may read
    seen = (await asked(tablet, "td/lamp"))["properties"]["on"]
    assert [each["op"] for each in seen["forms"]] == [["readproperty"]] and seen["readOnly"] is True
    for client, path in ((phone, "td/secret"), (phone, "td/nobody"), (phone, "td"), (phone, "td/lamp/x")):
        assert (await client.request(get(path))).code == codes.NOT_FOUND
    stranger = await home.client("stranger")
    assert (await stranger.request(get("td/lamp"))).code == codes.NOT_FOUND
    assert "links" not in await asked(stranger, ".well-known/wot")
    assert (await phone.request(get("td/lamp", 0))).code == codes.NOT_ACCEPTABLE
    assert (await phone.request(get("td/lamp", query="a=b"))).code == codes.BAD_REQUEST
    assert (await phone.request(Request(codes.PUT, opt.uri(("td", "lamp"))))).code == codes.METHOD_NOT_ALLOWED


async def test_the_links_of_descriptions_can_be_found(home: Home) -> None:
    Device(home.far)
    phone = await home.client("phone")
    found = read_links((await phone.request(get(".well-known/core", query="rt=wot.thing"))).payload)
    assert [(each.target, each.get("ct")) for each in found] == [("/.well-known/wot", "432"), ("/td/lamp", "432")]


@pytest.mark.parametrize(
    ("host", "origin"), [("gateway.example", "gateway.example"), ("2001:db8::1", "[2001:db8::1]"), ("a b", "127.0.0.1")]
)
async def test_forms_name_the_host_that_the_client_named(home: Home, host: str, origin: str) -> None:
    Device(home.far)
    made = await asked(await home.client("phone"), "td/lamp", host=host)
    assert made["properties"]["on"]["forms"][0]["href"] == f"coaps://{origin}:{home.port}/d/lamp/on/value"


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("::1", 5, 0, 0), "::1"),
        (("::ffff:127.0.0.1", 5, 0, 0), "127.0.0.1"),
        (("255.255.255.255", 5), "0.0.0.0"),
    ],
)
def test_a_client_that_names_no_host_is_given_the_address_that_it_reached(peer: tuple[Any, ...], local: str) -> None:
    assert local_address(peer) == local


async def test_the_config_may_say_where_all_clients_come_in(start: Callable[..., Any]) -> None:
    home = await start(policy=POLICY, advertise="coaps://gateway.example")
    Device(home.far)
    made = await asked(await home.client("phone"), "td/lamp")
    assert made["properties"]["on"]["forms"][0]["href"] == "coaps://gateway.example/d/lamp/on/value"
    (found,) = home.far.gateway.forms(home.hub.engine.all_devices(now=home.hub.now())[0])
    assert (found.name, found.properties["on"][0]["href"]) == ("coap", "coaps://gateway.example/d/lamp/on/value")


async def test_a_long_description_comes_in_blocks(home: Home) -> None:
    many = tuple(PropertyAffordance(name=f"p{n}", type=DataType.NUMBER, unit="Cel", writable=True) for n in range(60))
    Device(home.far, properties=many)
    phone = await home.client("phone")
    await until(lambda: home.hub.engine.all_devices(now=home.hub.now()))
    made = await asked(phone, "td/lamp")
    assert len(made["properties"]) == 60 and len(json.dumps(made)) > 16_384
