#!/bin/sh
# ClientSession.close() while a request resolves its host name: the request raises CancelledError, which nobody asked for.
#
# Software:     aiohttp 3.14.5, Python 3.11 or later.
# Expected:     a request whose session is closed under it fails with a ClientError ("Connector is closed"), as one does
#               that begins after the close.
# Happens:      each request that waits for the name at that moment raises asyncio.CancelledError, though no caller
#               cancelled its task (task.cancelling() is 0). In a TaskGroup the child passes for cancelled: the group
#               ends without an error, and what stood behind the request was never done.
# Who meets it: gateways and hubs that call services and close their session at a reload or a stop while a resolver is
#               slow: `except aiohttp.ClientError` and `except Exception` both let it through, and a unit that was to
#               be tried again is lost without a line in the log.
# What to do:   catch CancelledError around a request, and take it for "connection closed" where
#               asyncio.current_task().cancelling() is 0; or wait for the requests before the close.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python 3.11).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet aiohttp==3.14.5 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import socket
import sys

import aiohttp
from aiohttp.abc import AbstractResolver


class SlowResolver(AbstractResolver):
    async def resolve(self, host, port=0, family=socket.AF_INET):
        await asyncio.sleep(1.0)
        raise OSError("no such host")

    async def close(self):
        pass


async def ask(session):
    try:
        async with session.get("http://service.example/"):
            return "answered"
    except (aiohttp.ClientError, RuntimeError) as error:
        return f"an error: {type(error).__name__}"
    except asyncio.CancelledError:
        return f"CancelledError, cancelling() is {asyncio.current_task().cancelling()}"


async def main():
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=SlowResolver()))
    during = [asyncio.create_task(ask(session)) for _ in range(2)]
    await asyncio.sleep(0.1)
    await session.close()
    seen = [*await asyncio.gather(*during), await ask(session)]

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=SlowResolver()))
    done = []

    async def work():
        async with session.get("http://service.example/"):
            pass
        done.append("after the request")

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        await asyncio.sleep(0.1)
        await session.close()
    print(f"during the close: {seen[:2]}; after it: {seen[2]}; the task group ended without an error, done: {done}")
    cancelled = "CancelledError, cancelling() is 0"
    return seen == [cancelled, cancelled, "an error: RuntimeError"] and not done


sys.exit(not asyncio.run(main()))
PY
venv/bin/python check.py
