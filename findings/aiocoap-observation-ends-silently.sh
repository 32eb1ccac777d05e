#!/bin/sh
# Iterating over an aiocoap observation just ends, without an error, if the resource can't be observed or was removed.
#
# Software:     aiocoap 0.4.17 as client and server; Python 3.
# Expected:     `async for notification in request.observation` raises: NotObservable if the answer has no Observe
#               option, and ObservationCancelled, or an error that carries 4.04, if the server ends the observation by a
#               4.04.
# Happens:      for a resource that can't be observed the loop ends at once without a single round; for a removed one
#               the 4.04 comes as if it were a notification, and then the loop ends. Neither raises. A callback
#               (`register_errback`, deprecated in favour of the loop) gets NotObservable and ObservationCancelled.
# Who meets it: gateways with a task for each observed resource: the task ends as "done", nothing is logged, and the
#               values stand still from then on.
# What to do:   check `response.opt.observe` before the loop and `notification.code` in it; treat the end of the loop as
#               an error unless you cancelled.
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
import socket
import sys

import aiocoap
import aiocoap.resource


class Plain(aiocoap.resource.Resource):
    async def render_get(self, request):
        return aiocoap.Message(payload=b"plain")


class Removed(aiocoap.resource.ObservableResource):
    async def render_get(self, request):
        asyncio.get_running_loop().call_later(0.5, self.updated_state, aiocoap.Message(code=aiocoap.NOT_FOUND))
        return aiocoap.Message(payload=b"here")


async def iterate(client, uri):
    request = client.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    first = await asyncio.wait_for(request.response, 10)
    notifications = []

    async def rounds():
        async for notification in request.observation:
            notifications.append(notification.code.dotted)

    try:
        await asyncio.wait_for(rounds(), 10)
        end = "no error"
    except Exception as error:
        end = type(error).__name__
    return first.code.dotted, notifications, end


async def callbacks(client, uri):
    request = client.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    errors = []
    request.observation.register_errback(lambda error: errors.append(type(error).__name__))
    await asyncio.wait_for(request.response, 10)
    await asyncio.sleep(1.5)
    return errors


async def main():
    site = aiocoap.resource.Site()
    site.add_resource(["plain"], Plain())
    site.add_resource(["removed"], Removed())
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port))
    client = await aiocoap.Context.create_client_context()
    base = f"coap://127.0.0.1:{port}"
    seen = {
        "loop, not observable": await iterate(client, f"{base}/plain"),
        "loop, removed after 0.5 s": await iterate(client, f"{base}/removed"),
        "callback, not observable": await callbacks(client, f"{base}/plain"),
        "callback, removed after 0.5 s": await callbacks(client, f"{base}/removed"),
    }
    await client.shutdown()
    await server.shutdown()
    return seen


stated = {
    "loop, not observable": ("2.05", [], "no error"),
    "loop, removed after 0.5 s": ("2.05", ["4.04"], "no error"),
    "callback, not observable": ["NotObservable"],
    "callback, removed after 0.5 s": ["ObservationCancelled"],
}
seen = asyncio.run(asyncio.wait_for(main(), 60))
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
