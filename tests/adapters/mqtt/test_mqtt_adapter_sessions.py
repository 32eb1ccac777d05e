"""Sessions over the MQTT adapter at a real Mosquitto: opened, used both ways, closed; what counts and what doesn't."""

from __future__ import annotations

import pytest

from adapters.mqtt import news
from adapters.mqtt.payloads import epoch_number
from carriage.mqtt import messages as bodies
from carriage.mqtt.options import Message, MqttOptions
from gateway.api.model import Close, ContentKind, LinkSecurity, Open, Outcome, Reason, SessionId, Unit
from gateway.engine.limits import EngineLimits
from tests.adapters.mqtt.mqtt_home import ADTLS, ROOT, MqttHome, Start
from tests.harness.gateway_in_loop import record, tls_record, until


@pytest.mark.parametrize("kind", ["adtls", "atls", "oscore"])
async def test_two_users_talk(home: MqttHome, kind: str) -> None:
    app, other = await home.user("app"), await home.user("other")
    session = await app.open("other", kind)
    await until(other.incoming)
    assert other.incoming() == [bodies.Incoming(session, kind, "app")]
    make = tls_record if kind == "atls" else record
    units = [make(size, seed) for seed, size in enumerate((1, 100, 1100, 30))]
    for n, unit in enumerate(units):
        assert await app.say(f"{session}/up/{n}", unit, bodies.CONTENT_TYPES[kind]) == 0
        assert await other.say(f"{session}/up/{n}", unit, bodies.CONTENT_TYPES[kind]) == 0
    await until(lambda: len(app.units(session)) == len(other.units(session)) == 4)
    assert app.units(session) == other.units(session) == list(enumerate(units))
    for message in app.messages:
        if "/down/" in message.topic:
            assert (message.qos, message.retained, message.content_type) == (1, False, bodies.CONTENT_TYPES[kind])
            assert message.expiry is not None and 0 < message.expiry <= 60
    assert await other.say(f"{session}/close", b"") == 0
    await until(lambda: app.statuses(session))
    assert app.statuses(session) == [bodies.Status(bodies.StatusEvent.CLOSED, reason="closed")]
    assert not other.statuses(session)
    await until(lambda: not len(home.sessions._submitted) and not home.adapter.status()["in_flight"])
    home.check_empty()


async def test_the_receipt_of_a_unit_is_the_one_that_its_sender_gets(home: MqttHome) -> None:
    """The engine makes no second one, to name the session in it."""
    await home.user("app")
    session = home.far.open("app")
    await until(lambda: home.far.receipts)
    settled = home.settled()
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.outcome(unit))
    assert home.far.receipts[-1] is settled[-1] and settled[-1].session == session


async def test_a_close_comes_behind_the_units_before_it(home: MqttHome) -> None:
    app = await home.user("app")
    session = home.far.open("app", ContentKind.ATLS)
    units = [tls_record(1000, seed) for seed in range(40)]
    for n, unit in enumerate(units):
        home.far.unit(session, n, unit, ContentKind.ATLS)
    home.far.close(session)
    await until(lambda: app.statuses(session))
    assert app.units(session) == list(enumerate(units))
    order = [message.topic.rpartition("/")[2] for message in app.messages if session in message.topic]
    assert order[-1] == "status"


async def test_an_open_is_idempotent(home: MqttHome) -> None:
    app = await home.user("app")
    nonce = "ab" * 8
    session = await app.open("lamp", nonce=nonce)
    await app.ask("lamp", nonce=nonce)
    await until(lambda: len(app.at("status")) == 2)
    assert app.at("status")[0].payload == app.at("status")[1].payload
    assert len(home.far.of(Open)) == 1
    await app.say(f"{session}/close", b"")
    await until(lambda: not home.hub.engine.all_sessions())
    await app.ask("lamp", nonce=nonce)
    await until(lambda: len(app.at("status")) == 3)
    assert home.adapter.status()["sessions"] == 0


async def test_a_client_of_mqtt_3_1_1_at_a_broker_that_we_speak_mqtt_5_with(home: MqttHome) -> None:
    """Its units state no kind: they have that of their session."""
    app = await home.user("app", version=4)
    session = await app.open("lamp", kind="atls")
    await app.say(f"{session}/up/0", tls_record())
    await until(lambda: home.far.of(Unit))
    assert home.far.of(Unit)[0].content is ContentKind.ATLS and home.adapter.status()["version"] == "5.0"
    await app.say(f"{session}/up/1", tls_record(seed=1))
    await until(lambda: len(home.far.of(Unit)) == 2)


async def test_refusals_and_losses_are_published_to_the_client(start: Start) -> None:
    policy = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
rules:
  - {id: few, effect: permit, subject: app, resource: lamp, condition: {units: 2/min}}
"""
    home = await start(policy)
    app, nobody = await home.user("app"), await home.user("nobody")
    nonce = await nobody.ask("lamp")
    await until(lambda: nobody.answer(nonce))
    assert nobody.answer(nonce) == bodies.Refused(nonce, "denied")
    home.far.takes = False
    session = await app.open("lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    for n in range(3):
        await app.say(f"{session}/up/{n}", record(), ADTLS)
    await until(lambda: len(home.far.of(Unit)) == 2 and app.statuses(session))
    (over,) = app.statuses(session)
    assert (over.event, over.n, over.reason) == (bodies.StatusEvent.DROPPED, 2, "over-rate")
    assert over.retry_after is not None and 0 < over.retry_after <= 60
    home.far.settle(home.far.orders[1], Outcome.DROPPED, Reason.TOO_LARGE)
    home.far.settle(home.far.orders[2], Outcome.EXPIRED)
    await until(lambda: len(app.statuses(session)) == 3)
    assert app.statuses(session)[1:] == [
        bodies.Status(bodies.StatusEvent.DROPPED, 0, "too-large"),
        bodies.Status(bodies.StatusEvent.EXPIRED, 1, "expired"),
    ]
    # a repeated unit is taken, and nothing more happens
    await app.say(f"{session}/up/0", record(), ADTLS)
    await app.say(f"{session}/up/9", record(), "text/plain")
    await until(lambda: len(app.statuses(session)) == 4)
    assert app.statuses(session)[3] == bodies.Status(bodies.StatusEvent.DROPPED, 9, "content")
    assert not len(home.sessions._submitted)


async def test_a_foreign_session_gets_the_answer_of_an_unknown_one(home: MqttHome) -> None:
    app, other = await home.user("app"), await home.user("other")
    mine, theirs, nobodys = await app.open("lamp"), home.far.open("app"), "0f" * 16
    probes: list[tuple[str, bytes, str | None]] = [
        ("up/0", record(), ADTLS),
        ("up/7", record(), ADTLS),
        ("up/0", tls_record(), bodies.CONTENT_TYPES["atls"]),
        ("up/0", record(), "text/plain"),
        ("up/0", record(), None),
        ("up/0", b"", ADTLS),
        ("close", b"", None),
    ]
    for count, (place, payload, content_type) in enumerate(probes, start=1):
        for session in (nobodys, mine, theirs):
            await other.say(f"{session}/{place}", payload, content_type)
        await until(lambda count=count: all(len(other.statuses(s)) == count for s in (nobodys, mine, theirs)))
        assert other.statuses(nobodys)[-1] == other.statuses(mine)[-1] == other.statuses(theirs)[-1], place
    assert len(home.hub.engine.all_sessions()) == 2 and not app.statuses(mine)
    # not even at its own level: the level is the login's
    assert await other.say("open", b"{}", bodies.JSON_TYPE) == 0
    token = other.client.publish(f"atls/app/atls/{mine}/close", b"")
    await until(lambda: token in other.ends)
    assert other.ends[token] == 0x87
    await app.say(f"{mine}/up/0", record(), ADTLS)
    await until(lambda: home.far.of(Unit))


async def test_retained_messages_do_not_count(home: MqttHome) -> None:
    app = await home.user("app")
    session = await app.open("lamp")
    await app.say(f"{session}/up/0", record(), ADTLS, retain=True)
    await until(lambda: home.adapter.status()["retained"] == 1)
    await app.say(f"{session}/up/0", record(seed=1), ADTLS)
    await until(lambda: home.far.of(Unit))
    assert [unit.payload.octets for unit in home.far.of(Unit)] == [record(seed=1)]
    late = await home.user("app")
    await until(lambda: late.messages)
    assert [message.topic for message in late.messages] == ["atls/bridge/state"]


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"to":1}', b'{"to":"lamp","kind":"x","nonce":"0011223344556677"}']
)
async def test_a_message_that_is_no_open_is_counted(home: MqttHome, payload: bytes) -> None:
    app = await home.user("app")
    await app.say("open", payload, bodies.JSON_TYPE)
    good = bodies.encode(bodies.OpenRequest("lamp", "adtls", "00" * 8))
    await app.say("open", good, "text/plain")
    await until(lambda: home.adapter.status()["malformed"] == 2)
    await app.say("open", good)
    await until(lambda: app.answer("00" * 8))
    assert len(app.at("status")) == 1


async def test_a_message_s_expiry_is_the_unit_s(home: MqttHome) -> None:
    app = await home.user("app")
    home.far.takes = False
    session = await app.open("lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    await app.say(f"{session}/up/0", record(), ADTLS, expiry=1)
    await until(lambda: home.far.of(Unit))
    assert home.far.of(Unit)[0].expires_at is not None
    await until(lambda: app.statuses(session))
    assert [(status.n, status.reason) for status in app.statuses(session)] == [(0, "expired")]
    session = home.far.open("app")
    home.far.unit(session, 0, record(), expires_in=7.0)
    home.far.unit(session, 1, record())
    await until(lambda: len(app.units(session)) == 2)
    expiries = [message.expiry for message in app.messages if f"{session}/down/" in message.topic]
    assert expiries[0] in (6, 7) and expiries[1] in (59, 60)


async def test_a_response_topic_counts_below_the_own_level_only(start: Start) -> None:
    shipped = (ROOT / "config" / "mosquitto.acl").read_text()
    home = await start(acl=shipped + "pattern read atls/%u/replies/#\n")
    app = await home.user("app", "atls/app/replies/here")
    other = await home.user("other")
    await app.ask("lamp", nonce="11" * 8, response_topic="atls/app/replies/here", correlation=b"mark")
    await until(lambda: [m for m in app.messages if m.topic == "atls/app/replies/here"])
    (answer,) = [m for m in app.messages if m.topic == "atls/app/replies/here"]
    assert bodies.decode_answer(answer.payload).nonce == "11" * 8
    assert (answer.correlation, answer.retained, answer.content_type) == (b"mark", False, bodies.JSON_TYPE)
    assert not app.at("status")
    elsewhere = (
        "atls/other/atls/status",
        "atls/bridge/state",
        "atls/app/atls/open",
        f"atls/app/atls/{'0f' * 16}/up/0",
        f"atls/app/atls/{'0f' * 16}/close",
        "atls/app/atls/gone",
        "atls/app",
        "elsewhere",
    )
    for count, topic in enumerate(elsewhere, start=1):
        await app.ask("lamp", response_topic=topic, correlation=bytes(200))
        await until(lambda count=count: len(app.at("status")) == count)
    assert all(message.correlation is None for message in app.at("status"))
    assert not other.at("status") and len(other.states()) == len(app.states()) == 1


async def test_without_readers_an_order_is_unreachable(home: MqttHome) -> None:
    session = home.far.open("app")
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.UNREACHABLE
    assert home.adapter.status()["no_subscribers"] >= 1
    app = await home.user("app", session_expiry=0)
    session = home.far.open("app")
    await until(app.incoming)
    await app.client.stop()
    outcome: tuple[Outcome, Reason | None] | None = (Outcome.DELIVERED, None)
    for n in range(100):  # the broker may see it go a moment later
        unit = home.far.unit(session, n, record())
        await until(lambda unit=unit: home.far.outcome(unit))
        outcome = home.far.outcome(unit)
        if outcome != (Outcome.DELIVERED, None):
            break
    assert outcome == (Outcome.DROPPED, Reason.UNREACHABLE)


async def test_without_the_access_list_there_are_no_sessions(start: Start) -> None:
    """A topic level then says nothing about the sender, and no client can be addressed alone."""
    home = await start(broker_acl=False, devices={}, acl="pattern readwrite #\n")
    app = await home.user("app")
    request = bodies.encode(bodies.OpenRequest("lamp", "adtls", "ab" * 8))
    assert await app.say("open", request, bodies.JSON_TYPE) == 0x10  # no subscriber
    session = home.far.open("app")
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.UNREACHABLE
    assert not app.incoming()


async def test_mqtt_3_1_1(start: Start) -> None:
    """No properties: the kind is the session's own, and what no broker tells can't be known."""
    home = await start(version=4)
    app, other = await home.user("app", version=4), await home.user("other")
    session = await app.open("other", "atls")
    await until(other.incoming)
    await app.say(f"{session}/up/0", tls_record())
    await other.say(f"{session}/up/0", tls_record(seed=1), bodies.CONTENT_TYPES["atls"])
    await until(lambda: app.units(session) and other.units(session))
    assert (app.units(session), other.units(session)) == ([(0, tls_record(seed=1))], [(0, tls_record())])
    # also where the adapter has forgotten the kind
    home.sessions._ends.clear()
    await app.say(f"{session}/up/1", tls_record(seed=2))
    await until(lambda: len(other.units(session)) == 2)
    assert not app.statuses(session)
    assert home.adapter.status()["version"] == "3.1.1"


async def test_a_link_that_meets_the_required_version_gets_the_session(start: Start) -> None:
    policy = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
rules:
  - {id: s, effect: permit, subject: lamp, resource: app, condition: {require_link: {min_version: tls1.2}}}
"""
    home = await start(policy)
    home.far.link = LinkSecurity(protocol="tls1.3", authenticated=True)
    app = await home.user("app")
    home.far.open("app")
    await until(app.incoming)
    assert home.adapter.status()["link"] == "tls1.3"


async def test_a_plain_link_is_not_enough_where_tls_is_asked_for(start: Start) -> None:
    policy = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
rules:
  - {id: s, effect: permit, subject: lamp, resource: app, condition: {require_link: {min_version: tls1.2}}}
"""
    home = await start(policy, tls=False)
    home.far.link = LinkSecurity(protocol="tls1.3", authenticated=True)
    app = await home.user("app")
    session = home.far.open("app")
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.LINK
    assert not app.incoming()


async def test_a_vanished_user_is_noticed_by_its_will(start: Start) -> None:
    """One that names no run, which is all that there was once."""
    home = await start(return_within=1)
    app = await home.user("app")
    session = await app.open("lamp")
    home.far.open("app")
    await until(lambda: home.adapter.status()["sessions"] == 2)
    await app.say("gone", b"")
    await until(lambda: home.far.of(Close, session))
    assert {close.reason for close in home.far.of(Close)} == {Reason.UNREACHABLE}
    assert home.adapter.status()["sessions"] == 0


async def test_a_flood_of_refusals_leaves_room_for_units(home: MqttHome) -> None:
    """Of what waits for that the oldest is dropped, and counted."""
    app, other = await home.user("app"), await home.user("other")
    session = home.far.open("app")
    await until(app.incoming)
    client = home.sessions._client
    for n in range(2000):
        home.sessions.message(
            Message(f"atls/other/atls/{'0f' * 16}/up/{n}", b"", False, 1, ADTLS, None, None, None, (0, 0))
        )
    assert client.outstanding == MqttOptions(host="", port=0, client_id="").max_queued // 2
    receipt = home.far.unit(session, 0, record())
    await until(lambda: app.units(session) and home.far.outcome(receipt) == (Outcome.DELIVERED, None))
    await until(lambda: len(other.statuses("0f" * 16)) == 512 + news.MOST)
    numbers = [status.n for status in other.statuses("0f" * 16)]
    assert numbers == [*range(512), *range(2000 - news.MOST, 2000)]
    assert home.adapter.status()["answers_lost"] == 2000 - 512 - news.MOST


async def test_leftovers_of_a_user_are_swept(home: MqttHome) -> None:
    app = await home.user("app")
    live = await app.open("lamp")
    for number in range(400):
        home.sessions._ends.enter("app", SessionId(f"{number:032x}"), ContentKind.ADTLS)
    assert len(home.sessions._ends) < 300 and home.sessions._ends.get("app", live) is not None


async def test_the_bridge_state_holds_the_epoch(home: MqttHome) -> None:
    app = await home.user("app")
    await until(app.states)
    (state,) = app.states()
    assert state == bodies.BridgeState(epoch_number(home.hub.epoch, 0), bodies.State.ONLINE)
    assert app.at("bridge")[0].retained
    home.tasks["mqtt"].cancel()
    await until(lambda: len(app.states()) == 2)
    assert app.states()[1].state is bodies.State.OFFLINE
    assert len({epoch_number(*each) for each in (("a" * 16, 0), ("b" + "a" * 15, 0), ("a" * 16, 1))}) == 3
    late = await home.user("app")
    await until(late.states)
    assert late.states() == [bodies.BridgeState(epoch_number(home.hub.epoch, 0), bodies.State.OFFLINE)]


async def test_opens_above_their_rate_are_refused_with_a_time_to_wait(start: Start) -> None:
    home = await start(limits=EngineLimits(subject_opens_burst=2))
    app = await home.user("app")
    nonces = [await app.ask("lamp") for _ in range(3)]
    await until(lambda: all(app.answer(nonce) for nonce in nonces))
    assert [type(app.answer(nonce)) for nonce in nonces] == [bodies.Opened, bodies.Opened, bodies.Refused]
    assert app.answer(nonces[2]) == bodies.Refused(nonces[2], "over-rate", 1)
    assert len(home.far.of(Open)) == 2
