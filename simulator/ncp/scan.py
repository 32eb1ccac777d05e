"""Energy and active scans: one channel after the other, results as callbacks (UG100, startScan)."""

from __future__ import annotations

from collections.abc import Callable

from simulator.ezsp.codes import EmberStatus, ScanType, SlStatus
from simulator.ncp.stack import FIRST_CHANNEL, LAST_CHANNEL, Stack
from simulator.ncp.timers import Timer

#: aBaseSuperframeDuration at 2.4 GHz; a channel takes it (2^duration + 1) times
_SUPERFRAME_SECONDS = 0.01536
MAX_DURATION = 14
_STACK_PROFILE = 2


class Scanner:
    """At most one scan at a time."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._timer: Timer | None = None

    def start(self, kind: int, mask: int, duration: int) -> SlStatus:
        """Scan the channels of ``mask``; results and the end of it come as callbacks."""
        if self._timer is not None:
            return SlStatus.MAC_SCANNING
        channels = [channel for channel in range(FIRST_CHANNEL, LAST_CHANNEL + 1) if mask >> channel & 1]
        if not channels:
            return SlStatus.INVALID_CHANNEL_MASK
        if kind not in (ScanType.ENERGY, ScanType.ACTIVE):
            return SlStatus.MAC_INCORRECT_SCAN_TYPE
        if duration > MAX_DURATION:
            return SlStatus.INVALID_PARAMETER
        step = self._energy if kind == ScanType.ENERGY else self._active
        pace = (2**duration + 1) * _SUPERFRAME_SECONDS * self._stack.options.scan_pace
        self._next(channels, step, pace)
        return SlStatus.OK

    def _next(self, channels: list[int], step: Callable[[int], None], pace: float) -> None:
        def scanned() -> None:
            step(channels[0])
            if len(channels) > 1:
                self._next(channels[1:], step, pace)
            else:
                self._end(EmberStatus.SUCCESS)

        self._timer = self._stack.timers.after(pace, scanned)

    def _energy(self, channel: int) -> None:
        rssi = max(-128, min(127, self._stack.network.energy(channel)))
        self._stack.emit("energyScanResultHandler", {"channel": channel, "rssi": rssi})

    def _active(self, channel: int) -> None:
        for network in self._stack.network.beacons(channel):
            self._stack.emit(
                "networkFoundHandler",
                {
                    "network_channel": channel,
                    "network_pan_id": network.pan_id,
                    "network_extended_pan_id": network.extended_pan_id,
                    "network_allowing_join": False,
                    "network_stack_profile": _STACK_PROFILE,
                    "network_update_id": network.nwk_update_id,
                    "lqi": 255,
                    "rssi": -40,
                },
            )

    def _end(self, status: EmberStatus) -> None:
        self._timer = None
        self._stack.emit("scanCompleteHandler", {"channel": 0, "status": status})

    def stop(self) -> None:
        """stopScan: what is left of the scan is dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._end(EmberStatus.SUCCESS)

    def reset(self) -> None:
        self._timer = None
