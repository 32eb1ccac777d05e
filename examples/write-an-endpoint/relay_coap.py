"""A relay over CoAP and DTLS with aiocoap and tinydtls (pip install aiocoap DTLSSocket)."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys

from aiocoap import DELETE, GET, POST, Context, Message
from tls_program import TlsProgram, arguments

FORMATS = {"atls": 65000, "adtls": 65001}


async def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--gateway", required=True, help="the gateway, as coaps://HOST:PORT")
    parser.add_argument("--psk-file", required=True, help="our key towards it: one line, identity:hexkey")
    options = parser.parse_args()
    base, content_format = options.gateway.rstrip("/"), FORMATS[options.kind]
    with open(options.psk_file) as file:
        identity, _, key = file.read().strip().partition(":")
    context = await Context.create_client_context()
    proof = {"psk": bytes.fromhex(key), "client-identity": identity.encode()}
    context.client_credentials.load_from_dict({f"{base}/*": {"dtls": proof}})

    if options.open:
        uri = f"{base}/atls?to={options.open}&nonce={secrets.token_hex(16)}"
        answer = await context.request(Message(code=POST, uri=uri, content_format=content_format)).response
        if not answer.code.is_successful():
            await context.shutdown()
            sys.exit(f"refused: {answer.code} {answer.payload.decode()}")
        place = "/".join((base, *answer.opt.location_path))
    else:
        place = None
        inbox = context.request(Message(code=GET, uri=f"{base}/atls/inbox", observe=0))
        listing = (await inbox.response).payload
        listings = aiter(inbox.observation)
        print("waiting", file=sys.stderr, flush=True)
        while not (found := re.search(rb"<(/atls/[0-9a-f]{32})>;ct=%d\b" % content_format, listing)):
            listing = (await anext(listings)).payload
        place = base + found[1].decode()
    program = TlsProgram(options)

    async def read() -> None:
        """aiocoap forgets a notification for the next one while this body awaits something; so it doesn't."""
        down = context.request(Message(code=GET, uri=place, observe=0))
        await down.response
        came = 0
        async for answer in down.observation:
            if not answer.code.is_successful():
                break  # the session is over
            if answer.payload and int.from_bytes(answer.opt.etag, "big") >= came:
                came = int.from_bytes(answer.opt.etag, "big") + 1
                program.hear(answer.payload)
        program.hear(b"")

    reading = asyncio.create_task(read())
    units = program.units()
    n = 0
    while unit := await asyncio.to_thread(next, units, b""):
        request = Message(code=POST, uri=f"{place}?n={n}", content_format=content_format, payload=unit)
        answer = await context.request(request).response
        if answer.code.dotted in ("4.29", "5.03"):
            await asyncio.sleep(answer.opt.max_age or 1)
            continue
        if answer.code.dotted == "4.04":
            break  # the session is over
        if not answer.code.is_successful():  # lost, as a datagram may be
            print(f"unit {n}: {answer.code} {answer.payload.decode()}", file=sys.stderr)
        n += 1
    await context.request(Message(code=DELETE, uri=place)).response
    reading.cancel()
    await context.shutdown()
    return program.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
