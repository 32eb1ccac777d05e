#!/bin/sh
# zigpy sends a command three times if no answer comes, toggle too, and asks for no APS acknowledgement of any of them.
#
# Software:     zigpy 2.4.0, its application class without a radio, Python 3.11 or later.
# Expected:     a unicast that wants an answer asks for an APS acknowledgement, so that the stack repeats a lost frame and
#               its receiver drops copies (Zigbee specification, 2.2.8.4); if no answer comes in time, the call raises
#               TimeoutError after this one request.
# Happens:      toggle() goes out without TransmitOptions.ACK; a frame that wants no answer goes with it. If the answer is
#               not there after 5 s the same command goes out again, up to twice, with the same ZCL sequence number but
#               in another packet: a lamp whose answer gets lost has the command three times, one that answers after 6 s
#               twice, and the call returns SUCCESS.
# Who meets it: programs on zigpy that toggle, step or move over a weak link, or to a slow device: a lamp that carries out
#               each frame that it receives ends in another state than asked for.
# What to do:   give retries=0 to commands that aren't idempotent, and ask_for_ack=True to a frame that has to arrive.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet zigpy==2.4.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import sys

import zigpy.application
import zigpy.device
import zigpy.endpoint
import zigpy.types as t
import zigpy.zdo.types as zdo

LAMP = t.EUI64.convert("02:00:00:00:00:00:00:02")
ON_OFF, TOGGLE, DEFAULT_RESPONSE = 0x0006, 0x02, 0x0B


class Application(zigpy.application.ControllerApplication):
    """zigpy with a lamp in the place of a radio: it gets each packet, and answers ``answers_after`` seconds later."""

    async def load_network_info(self, *, load_devices=False):
        self.state.node_info.ieee, self.state.node_info.nwk = t.EUI64.convert("02:00:00:00:00:00:00:01"), t.NWK(0)

    async def start_network(self):
        pass

    async def nothing(self, *args, **kwargs):
        pass

    connect = disconnect = add_endpoint = force_remove = permit_ncp = permit_with_link_key = nothing
    reset_network_info = write_network_info = nothing

    async def send_packet(self, packet):
        self.packets.append(packet)
        if self.answers_after is not None:
            asyncio.get_running_loop().call_later(self.answers_after, self.answer, packet)

    def answer(self, packet):
        _, sequence, command = packet.data.serialize()[:3]
        self.packet_received(
            t.ZigbeePacket(
                src=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0x2222)),
                src_ep=1,
                dst=t.AddrModeAddress(t.AddrMode.NWK, t.NWK(0)),
                dst_ep=1,
                tsn=sequence,
                profile_id=0x0104,
                cluster_id=ON_OFF,
                data=t.SerializableBytes(bytes([0x18, sequence, DEFAULT_RESPONSE, command, 0])),
            )
        )


async def called(name, answers_after, **options):
    """What one call of the cluster's command ends with, and each frame: its command, options, same sequence number?"""
    app = Application({"device": {"path": "none"}, "backup_enabled": False, "watchdog_enabled": False})
    app.packets, app.answers_after = [], answers_after
    lamp = app.add_device(LAMP, t.NWK(0x2222))
    lamp.node_desc, _ = zdo.NodeDescriptor.deserialize(bytes.fromhex("01408e3412525200002c520000"))
    endpoint = lamp.add_endpoint(1)
    endpoint.profile_id, endpoint.device_type = 0x0104, 0x0100
    cluster = endpoint.add_input_cluster(ON_OFF)
    endpoint.status = zigpy.endpoint.Status.ZDO_INIT
    lamp.status = zigpy.device.Status.ENDPOINTS_INIT
    try:
        answer = await getattr(cluster, name)(**options)
        end = "no answer" if answer is None else answer.status.name
    except Exception as error:
        end = type(error).__name__
    frames = [packet.data.serialize() for packet in app.packets]
    asked = {t.TransmitOptions.ACK in packet.tx_options for packet in app.packets}
    return end, len(frames), len({frame[1] for frame in frames}), sorted(asked)


async def main():
    cases = {
        "toggle, answered at once": called("toggle", 0.01),
        "toggle, answered after 6 s": called("toggle", 6.0),
        "toggle, answers lost": called("toggle", None),
        "toggle, answers lost, retries=0": called("toggle", None, retries=0),
        "toggle that wants no answer": called("toggle", None, expect_reply=False),
        "toggle with ask_for_ack": called("toggle", 0.01, ask_for_ack=True),
    }
    return dict(zip(cases, await asyncio.gather(*cases.values()), strict=True))


seen = asyncio.run(asyncio.wait_for(main(), 60))
stated = {
    "toggle, answered at once": ("SUCCESS", 1, 1, [False]),
    "toggle, answered after 6 s": ("SUCCESS", 2, 1, [False]),
    "toggle, answers lost": ("TimeoutError", 3, 1, [False]),
    "toggle, answers lost, retries=0": ("TimeoutError", 1, 1, [False]),
    "toggle that wants no answer": ("no answer", 1, 1, [True]),
    "toggle with ask_for_ack": ("SUCCESS", 1, 1, [True]),
}
for case, (end, frames, numbers, asked) in seen.items():
    print(f"{case}: {end}; {frames} frames with {numbers} sequence number; APS acknowledgement asked for: {asked}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
