"""The ZigBee way of a device over a virtual network, the real tunnel state machine at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carriage.zigbee import events, tunneling
from carriage.zigbee.segmentation import DTLS_UNIT_LIMIT
from carriage.zigbee.transfer import LossReason
from endpoint.transports import gateway_link
from endpoint.transports.zigbee import INCOMING, ZigbeeLimits, ZigbeeLink
from layer.errors import PeerError, TransportError
from simulator.network.radio import Conditions
from tests.endpoint.air_gateway import DEVICE, EUI64, Gateway, air
from tests.endpoint.owner import Owner, running, unit, until


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with air(tmp_path) as gateway:
        gateway.up()
        yield gateway


def link_in(
    gateway: Gateway,
    kind: gateway_link.Kind = "adtls",
    sleepy: float | None = None,
    limits: ZigbeeLimits = ZigbeeLimits(),  # noqa: B008 - frozen
) -> ZigbeeLink:
    return ZigbeeLink(str(gateway.path), EUI64, kind=kind, join_timeout=5, sleepy=sleepy, limits=limits)


async def opened(link: ZigbeeLink, gateway: Gateway, kind: gateway_link.Kind = "adtls") -> tuple[Owner, events.Handle]:
    owner = Owner(await link.open("200", kind))
    return owner, gateway.requested[-1].handle


def long_unit(number: int) -> bytes:
    return unit(number) + bytes(number % 251 for _ in range(DTLS_UNIT_LIMIT - 9))


def test_a_dead_radio_and_a_silent_gateway_are_noticed_within_30_s() -> None:
    limits = events.TunnelLimits()
    assert ZigbeeLimits().open_for <= 30
    # Five tries with their rests and up to 1.6 s of APS retries each, and the grace.
    assert sum(limits.retry_waits) + 5 * 1.6 + ZigbeeLimits().unreachable_after <= 30


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_units_go_both_ways_and_the_close_behind_them(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_in(gateway, kind)):
        owner, handle = await opened(link, gateway, kind)
        assert gateway.requested[0].protocol == 200
        for n in range(3):
            gateway.tunnels.send_unit(handle, n, long_unit(n), gateway.now)
        gateway.flush()
        owner.session.send(map(long_unit, range(20)))  # more than the tunnel takes at a time
        owner.session.close()
        owner.session.send([unit(20)])
        await link.drain()
        await until(lambda: gateway.closed(handle))
        assert gateway.units(handle) == [(n, long_unit(n)) for n in range(20)]
        assert owner.units == [long_unit(n) for n in range(3)]
        assert (owner.ends, owner.lost) == ([], [])


async def test_two_sessions_at_once(gateway: Gateway) -> None:
    async with running(link := link_in(gateway)):
        first, one = await opened(link, gateway)
        second, two = await opened(link, gateway)
        first.session.send([unit(1)])
        second.session.send([unit(2)])
        first.session.close()
        await until(lambda: gateway.closed(one))
        second.session.send([unit(3)])
        await until(lambda: len(gateway.units(two)) == 2)
        assert gateway.units(one) == [(0, unit(1))]
        assert gateway.units(two) == [(0, unit(2)), (1, unit(3))]
        assert second.ends == []


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_gap_breaks_tls_and_not_dtls(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_in(gateway, kind)):
        owner, handle = await opened(link, gateway, kind)
        for n in (0, 2):
            gateway.tunnels.send_unit(handle, n, unit(n), gateway.now)
        gateway.flush()
        if kind == "adtls":
            await until(lambda: len(owner.units) == 2)
            assert owner.ends == []
        else:
            await until(lambda: gateway.closed(handle))
            assert (owner.units, owner.ends) == ([unit(0)], ["unit 1 never came"])


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [
        (tunneling.TunnelStatus.BUSY, "busy", True),
        (tunneling.TunnelStatus.NO_MORE_IDS, "busy", True),
        (tunneling.TunnelStatus.PROTOCOL_NOT_SUPPORTED, "denied", False),
        (tunneling.TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED, "flow_control_not_supported", False),
    ],
)
async def test_a_refused_tunnel(gateway: Gateway, status: tunneling.TunnelStatus, reason: str, transient: bool) -> None:
    gateway.refusal = status
    async with running(link := link_in(gateway)):
        with pytest.raises(TransportError, match=reason) as caught:
            await link.open("200", "adtls")
        assert caught.value.transient == transient
        gateway.refusal = None
        owner, handle = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(handle))
        for impossible in ("199", "255", "phone", "", "0200", "²00", "-1"):
            with pytest.raises(TransportError, match="protocol id from 200 to 254"):
                await link.open(impossible, "adtls")


async def test_an_open_without_an_answer(gateway: Gateway) -> None:
    gateway.mute = True
    async with running(link := link_in(gateway, limits=ZigbeeLimits(open_for=0.5))):
        with pytest.raises(TransportError, match="no answer"):
            await link.open("200", "adtls")
        gateway.mute = False
        owner, handle = await opened(link, gateway)
        owner.session.send([unit(0)])
        await until(lambda: gateway.units(handle))


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_the_gateway_closes(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_in(gateway, kind)):
        owner, handle = await opened(link, gateway, kind)
        gateway.tunnels.send_unit(handle, 0, unit(0), gateway.now)
        gateway.tunnels.close(handle, gateway.now)
        gateway.flush()
        await until(lambda: owner.ends)
        assert (owner.units, owner.ends) == ([unit(0)], ["closed"])
        owner.session.send([unit(0)])
        owner.session.close()
        await link.drain()


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_restarted_gateway_knows_no_tunnel(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_in(gateway, kind)):
        owner, _ = await opened(link, gateway, kind)
        gateway.restart()
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.ends in (["no such tunnel"], ["unknown there"])
        again, handle = await opened(link, gateway, kind)
        again.session.send([unit(0)])
        await until(lambda: gateway.units(handle))


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_an_overflow_at_the_gateway_ends_tls_only(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(link := link_in(gateway, kind)):
        owner, handle = await opened(link, gateway, kind)
        owner.session.send(map(long_unit, range(40)))  # long enough for the error to meet one on its way
        await until(lambda: gateway.frames > 3)
        gateway.tunnels.data_error(handle, tunneling.TransferError.DATA_OVERFLOW, gateway.now)
        gateway.flush()
        if kind == "adtls":
            owner.session.send([unit(40)])
            await until(lambda: (40, unit(40)) in gateway.units(handle))
            assert [reason for _, reason in owner.lost] == ["overflow"]
            assert len(gateway.units(handle)) >= 40  # the last slice of the one may have been acknowledged just now
            assert owner.ends == []
        else:
            await until(lambda: gateway.closed(handle))
            assert owner.ends == ["data overflow"]


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_gateway_that_stays_away(gateway: Gateway, kind: gateway_link.Kind) -> None:
    async with running(
        link := link_in(
            gateway,
            kind,
            limits=ZigbeeLimits(
                tunnels=events.TunnelLimits(retry_waits=(0.05, 0.05), max_queued_units=16), unreachable_after=0.5
            ),
        )
    ):
        owner, _ = await opened(link, gateway, kind)
        gateway.network.stop()
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert owner.lost[0] == (0, "undeliverable")
        assert owner.ends == (["unreachable"] if kind == "adtls" else ["unit 0 was lost: undeliverable"])


async def test_too_much_in_the_queue_ends_the_session(gateway: Gateway) -> None:
    async with running(link := link_in(gateway)):
        owner, handle = await opened(link, gateway)
        owner.session.send(map(unit, range(gateway_link.MAX_QUEUED_UNITS + 1)))
        assert owner.ends == ["too many units wait for the radio"]
        await until(lambda: gateway.closed(handle))
        assert gateway.units(handle) == []


async def test_tunnels_that_the_gateway_opens(gateway: Gateway) -> None:
    async with running(link := link_in(gateway)) as came:
        for protocol in (250, 251):
            kind, _ = INCOMING[protocol]
            handle = gateway.tunnels.open(protocol, tunneling.ANY_MANUFACTURER, gateway.now)
            gateway.tunnels.send_unit(handle, 0, unit(0), gateway.now)
            gateway.flush()
            await until(lambda: came)
            owner = Owner(came.pop())
            assert (owner.session.kind, owner.session.peer) == (kind, "gateway")
            owner.session.send([unit(1)])
            await until(lambda: owner.units and gateway.units(handle))  # noqa: B023 - waited for at once
            assert (owner.units, gateway.units(handle)) == ([unit(0)], [(0, unit(1))])
            owner.session.close()
            await link.drain()
            await until(lambda: gateway.closed(handle))  # noqa: B023 - waited for at once
        other = gateway.tunnels.open(222, tunneling.ANY_MANUFACTURER, gateway.now)
        gateway.flush()
        await until(lambda: isinstance(gateway.happened[-1], events.TunnelRefused))
        assert gateway.happened[-1] == events.TunnelRefused(other, tunneling.TunnelStatus.PROTOCOL_NOT_SUPPORTED)
        assert came == []


@pytest.mark.parametrize("kind", ["adtls", "atls"])
async def test_a_sleeper_fetches_what_waits(gateway: Gateway, kind: gateway_link.Kind) -> None:
    gateway.mode = events.DeliveryMode.KEPT
    async with running(link := link_in(gateway, kind, sleepy=0.3)):
        owner, handle = await opened(link, gateway, kind)
        for n in range(3):
            gateway.tunnels.send_unit(handle, n, long_unit(n), gateway.now)
        owner.session.send([unit(0)])
        await until(lambda: len(owner.units) == 3 and gateway.units(handle))
        assert owner.units == [long_unit(n) for n in range(3)]
        assert [event for event in gateway.happened if isinstance(event, events.PeerMisbehaved)] == []
        gateway.tunnels.report_loss(handle, 0, LossReason.EXPIRED, gateway.now)
        gateway.flush()
        await until(lambda: owner.lost)
        assert owner.lost == [(0, "expired")]
        assert owner.ends == ([] if kind == "adtls" else ["unit 0 was lost: expired"])


async def test_a_sleeper_whose_gateway_keeps_no_mailbox_asks_about_it(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(link := link_in(gateway, sleepy=0.2)):
        _, handle = await opened(link, gateway, "adtls")
        for n in range(3):
            gateway.tunnels.send_unit(handle, n, long_unit(n), gateway.now)
        gateway.flush()
        await until(lambda: any(isinstance(event, events.MailboxLacking) for event in gateway.happened))
        await until(lambda: caplog.records)
    assert [each.getMessage() for each in caplog.records if each.name == "endpoint.transports.zigbee"] == [
        "the gateway sends while we sleep: does protocol 200 have mailbox: true in its gateway.yaml?"
    ]


async def test_a_sleeper_is_found(gateway: Gateway) -> None:
    """It has no tunnel, so it knocks; the gateway opens one when it hears that."""
    async with running(link_in(gateway, sleepy=0.2)) as came:
        await until(lambda: gateway.frames)
        handle = gateway.tunnels.open(
            252, tunneling.ANY_MANUFACTURER, gateway.now, mode=events.DeliveryMode.KEPT, until_awake=True
        )
        gateway.flush()
        knocks = gateway.frames
        await until(lambda: gateway.frames > knocks)
        gateway.tunnels.heard(gateway.now)
        gateway.tunnels.send_unit(handle, 0, unit(0), gateway.now)
        gateway.flush()
        await until(lambda: came)
        owner = Owner(came.pop())
        await until(lambda: owner.units)
        assert owner.units == [unit(0)]
        owner.session.close()
        await until(lambda: gateway.closed(handle))


async def test_over_a_radio_that_loses_and_doubles(tmp_path: Path) -> None:
    async with air(tmp_path, Conditions(loss=0.15, duplicate=0.1, reorder=0.1)) as gateway:
        gateway.up()
        async with running(link := link_in(gateway, "atls")):
            owner, handle = await opened(link, gateway, "atls")
            owner.session.send(map(unit, range(30)))
            for n in range(30):
                gateway.tunnels.send_unit(handle, n, unit(n), gateway.now)
                await asyncio.sleep(0.02)
                gateway.flush()
            owner.session.close()
            await until(lambda: len(gateway.units(handle)) == 30 and gateway.closed(handle))
            assert gateway.units(handle) == [(n, unit(n)) for n in range(30)]
            assert owner.units == [unit(n) for n in range(len(owner.units))]


async def test_a_device_that_is_removed(gateway: Gateway) -> None:
    with pytest.raises(TransportError, match="removed from the network") as caught:
        async with running(link := link_in(gateway)):
            owner, _ = await opened(link, gateway)
            gateway.network.leave_request(gateway.network.nwk_of(DEVICE) or 0)
            await until(lambda: owner.ends)
            await asyncio.sleep(0.1)
    assert not caught.value.transient


async def test_no_network(gateway: Gateway, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="No such file"):
        async with running(ZigbeeLink(str(tmp_path / "none"), EUI64, kind="adtls")):
            pass
    gateway.network.permit_joining(0)
    with pytest.raises(TransportError, match="did not let the device in"):
        async with running(ZigbeeLink(str(gateway.path), EUI64, kind="adtls", join_timeout=0.3)):
            pass
    with pytest.raises(PeerError, match="eight colon-separated octets"):
        ZigbeeLink(str(gateway.path), "lamp7", kind="adtls")
