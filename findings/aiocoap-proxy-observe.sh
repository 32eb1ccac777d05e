#!/bin/sh
# aiocoap-proxy answers each Observe by 5.00 and each Proxy-Uri by 5.01; it forwards Hop-Limit uncounted.
#
# Software:     aiocoap 0.4.17: its command aiocoap-proxy, forward and reverse, its client and an observable resource;
#               Python 3.
# Expected:     an observation through the proxy brings a first value and notifications (or a plain answer without
#               Observe, as RFC 7641 allows); Proxy-Uri is understood as Proxy-Scheme is; Hop-Limit 16 arrives as 15
#               (RFC 8768).
# Happens:      a plain GET passes both proxies. With Observe both answer 5.00, and the client has nothing; the logs say
#               AssertionError. Proxy-Uri is 5.01. Hop-Limit 16 arrives as 16.
# Who meets it: who puts aiocoap-proxy in front of a gateway or of devices (another network, a test of one's own proxy):
#               all works until somebody observes.
# What to do:   observe past this proxy, or poll through it; in a client that must pass it send Proxy-Scheme with
#               Uri-Host, and repeat a request without Observe after 5.00.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
started=
cleanup() {
    for process in $started; do { kill "$process" && wait "$process"; } 2>/dev/null || true; done
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet aiocoap==0.4.17 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import pathlib
import sys

import aiocoap
import aiocoap.resource

DEVICE, FORWARD, REVERSE = map(int, sys.argv[1:])
HOP_LIMIT = 16


class Temperature(aiocoap.resource.ObservableResource):
    hops = None

    async def render_get(self, request):
        self.hops = [int.from_bytes(o.encode(), "big") for o in request.opt.option_list() if int(o.number) == HOP_LIMIT]
        asyncio.get_running_loop().call_later(0.3, self.updated_state)
        return aiocoap.Message(payload=b"21.5")


def to_device(observe=None):
    return aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{DEVICE}/temperature", observe=observe)


def by_reverse(observe=None):
    return aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{REVERSE}/device/temperature", observe=observe)


def by_forward(observe=None, proxy_uri=False, hop_limit=None):
    message = aiocoap.Message(code=aiocoap.GET, observe=observe)
    if proxy_uri:
        message.opt.proxy_uri = f"coap://127.0.0.1:{DEVICE}/temperature"
    else:
        message.opt.proxy_scheme, message.opt.uri_path = "coap", ("temperature",)
        message.opt.uri_host, message.opt.uri_port = "127.0.0.1", DEVICE
    if hop_limit is not None:
        message.opt.add_option(aiocoap.optiontypes.OpaqueOption(HOP_LIMIT, bytes([hop_limit])))
    message.unresolved_remote = f"127.0.0.1:{FORWARD}"
    return message


async def main():
    site, temperature = aiocoap.resource.Site(), Temperature()
    site.add_resource(["temperature"], temperature)
    server = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", DEVICE))
    client = await aiocoap.Context.create_client_context()

    async def ask(message):
        answer = await asyncio.wait_for(client.request(message).response, 10)
        return answer.code.dotted

    async def observe(message):
        request = client.request(message)
        first = await asyncio.wait_for(request.response, 10)
        count = 0

        async def rounds():
            nonlocal count
            async for _ in request.observation:
                count += 1

        try:
            await asyncio.wait_for(rounds(), 2)
        except TimeoutError:
            request.observation.cancel()
        return first.code.dotted, "notifications" if count else "none"

    for _ in range(50):  # until the proxies listen
        try:
            await ask(by_forward())
            await ask(by_reverse())
            break
        except aiocoap.error.Error:
            await asyncio.sleep(0.2)
    seen = {
        "GET, direct": await ask(to_device()),
        "GET, forward proxy": await ask(by_forward()),
        "GET, reverse proxy": await ask(by_reverse()),
        "GET, forward proxy, Proxy-Uri": await ask(by_forward(proxy_uri=True)),
        "Hop-Limit 16 arrives as": (await ask(by_forward(hop_limit=16)), temperature.hops),
        "Observe, direct": await observe(to_device(observe=0)),
        "Observe, forward proxy": await observe(by_forward(observe=0)),
        "Observe, reverse proxy": await observe(by_reverse(observe=0)),
        "an AssertionError in each log": [
            "AssertionError" in pathlib.Path(name).read_text(errors="replace")
            for name in ("forward.log", "reverse.log")
        ],
    }
    await client.shutdown()
    await server.shutdown()
    return seen


stated = {
    "GET, direct": "2.05",
    "GET, forward proxy": "2.05",
    "GET, reverse proxy": "2.05",
    "GET, forward proxy, Proxy-Uri": "5.01",
    "Hop-Limit 16 arrives as": ("2.05", [16]),
    "Observe, direct": ("2.05", "notifications"),
    "Observe, forward proxy": ("5.00", "none"),
    "Observe, reverse proxy": ("5.00", "none"),
    "an AssertionError in each log": [True, True],
}
seen = asyncio.run(asyncio.wait_for(main(), 90))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

ports=$(python3 -c 'import socket
sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
set -- $ports
export PYTHONUNBUFFERED=1
venv/bin/aiocoap-proxy --forward --bind "127.0.0.1:$2" >forward.log 2>&1 &
started=$!
venv/bin/aiocoap-proxy --reverse --pathbased "device:127.0.0.1:$1" --bind "127.0.0.1:$3" >reverse.log 2>&1 &
started="$started $!"
venv/bin/python check.py "$@"
