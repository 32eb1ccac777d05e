#!/bin/sh
# After a 4.13 that names a smaller block size aiocoap raises an AttributeError, or doesn't start over.
#
# Software:     aiocoap 0.4.17 as the client, a device with room for 64 octets that does Block1 by RFC 7959; Python 3.
# Expected:     by RFC 7959, 2.9.3, the Block1 option of a 4.13 is a hint: the client sends the body again from its
#               start, in blocks of that size, and gets 2.04.
# Happens:      a body of 200 octets goes without Block1, and its refusal raises "AttributeError: 'NoneType' object has
#               no attribute 'block_number'" rather than an aiocoap error or an answer. A body of 2,000 octets goes on,
#               in blocks of 64, with block 16, that is behind the 1,024 octets that were refused; the device says 4.08.
# Who meets it: a gateway that writes configurations or firmware to constrained devices: their buffers are below one
#               block of 1,024 octets, and this answer is how they say so.
# What to do:   catch Exception around the request; if the device's size is known, set it before the request, as the
#               check does: the body then goes in such blocks from the start.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet aiocoap==0.4.17 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import sys

import aiocoap

BLOCK1, ACKNOWLEDGEMENT = 27, 2
CHANGED, CONTINUE, INCOMPLETE, TOO_LARGE = 0x44, 0x5F, 0x88, 0x8D
SIZE_EXPONENT = 2  # blocks of 2**(4 + 2) octets


class Device(asyncio.DatagramProtocol):
    """Takes PUT in blocks of 64 octets, in order and from the first; refuses larger ones with 4.13 and its size."""

    def __init__(self):
        self.octets, self.seen = 0, []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        request = aiocoap.Message.decode(data)
        if request.code != aiocoap.PUT:
            return
        block, size = request.opt.block1, len(request.payload)
        number, more = (block.block_number, block.more) if block else (0, False)
        self.seen.append((number if block else None, size))
        if size > 64:
            code, answer = TOO_LARGE, more << 3 | SIZE_EXPONENT
        elif number * 64 != (self.octets if number else 0):
            code, answer = INCOMPLETE, None
        else:
            self.octets = number * 64 + size
            code = CONTINUE if more else CHANGED
            answer = number << 4 | more << 3 | SIZE_EXPONENT if block else None
        option = b""
        if answer is not None:
            value = answer.to_bytes(2 if answer > 255 else 1, "big")
            option = bytes([0xD0 | len(value), BLOCK1 - 13]) + value
        head = bytes([0x40 | ACKNOWLEDGEMENT << 4 | len(request.token), code]) + data[2:4]
        self.transport.sendto(head + request.token + option, peer)


async def put(octets, known_size=None):
    loop = asyncio.get_running_loop()
    transport, device = await loop.create_datagram_endpoint(Device, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    context = await aiocoap.Context.create_client_context()
    request = aiocoap.Message(code=aiocoap.PUT, uri=f"coap://127.0.0.1:{port}/config", payload=b"x" * octets)
    if known_size is not None:
        await context.find_remote_and_interface(request)
        request.remote.maximum_block_size_exp = known_size
    try:
        answer = (await asyncio.wait_for(context.request(request).response, 15)).code.dotted
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    await context.shutdown()
    transport.close()
    return answer, device.seen[:2], device.octets


async def main():
    return {
        "60 octets": await put(60),
        "200 octets": await put(200),
        "2000 octets": await put(2000),
        "200 octets, size known": await put(200, SIZE_EXPONENT),
    }


stated = {
    "60 octets": ("2.04", [(None, 60)], 60),
    "200 octets": ("AttributeError: 'NoneType' object has no attribute 'block_number'", [(None, 200)], 0),
    "2000 octets": ("4.08", [(0, 1024), (16, 64)], 0),
    "200 octets, size known": ("2.04", [(0, 64), (1, 64)], 200),
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for name, (answer, blocks, taken) in seen.items():
    print(f"{name}: {answer}; first blocks (number, octets): {blocks}; taken by the device: {taken}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
