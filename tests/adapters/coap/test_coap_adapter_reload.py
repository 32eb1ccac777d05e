"""Keys that were added to the file of clients count for a running adapter; anything else takes a fresh instance."""

from __future__ import annotations

from carriage.coap import atls_client
from tests.adapters.coap.coap_home import PSKS, Home, opened


def lines(*names: str) -> bytes:
    return b"".join(b"%s:%s\n" % (name.encode(), PSKS[name].hex().encode()) for name in names)


async def test_a_client_that_was_added_can_come_and_the_others_stay(start) -> None:
    home: Home = await start()
    home.write("clients.psk", lines("phone"), 0o600)
    assert not home.adapter.adopt(home.configure())  # the tablet is shut out: it must not stay connected
    home.write("clients.psk", lines("phone", "tablet", "stranger"), 0o600)
    phone = await home.client("phone")
    session = await opened(phone, "tablet")

    PSKS["guest"] = b"guest" * 4
    try:
        home.write("clients.psk", lines("phone", "tablet", "stranger", "guest"), 0o600)
        assert home.adapter.adopt(home.configure())
        await home.client("guest")
    finally:
        del PSKS["guest"]
    answer = await phone.request(atls_client.close_request(session))
    assert answer.code, "the connection from before is still the same"
    assert home.adapter.status()["clients"] == 2


async def test_any_other_change_takes_a_fresh_instance(start) -> None:
    home: Home = await start()
    assert home.adapter.adopt(home.configure())
    for change in ({"idle": 60.0}, {"absence": 2.0}, {"certificate_file": None, "key_file": None, "trust_file": None}):
        assert not home.adapter.adopt(home.configure(**change)), change
    other = home.authority.issue("other")
    home.write("gateway.pem", other.chain)
    home.write("gateway.key", other.key_pem, 0o600)
    assert not home.adapter.adopt(home.configure())
    assert "phone" not in repr(home.adapter._terms)
