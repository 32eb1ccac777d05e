#!/bin/sh
# A coroutine that mypyc compiled and that waits in `finally` leaves its exception behind, in the whole thread.
#
# Software:     mypy[mypyc] 2.4.1, setuptools 80.9.0; Python 3.11 with headers, a C compiler.
# Expected:     an exception that is being handled belongs to its coroutine, as in CPython: while it waits in `finally`,
#               and after it has ended, others see none of it (PEP 3134 and sys.exc_info per frame; PEP 567's tasks).
# Happens:      while the compiled coroutine waits, and for good afterwards, its CancelledError is the exception "being
#               handled" of the thread: every exception raised anywhere later has it as its __context__, and each
#               further cancelled coroutine adds one to the chain. Interpreted, the depth is 0 throughout.
# Who meets it: asyncio services that compile their hot modules: log entries of other parts show "During handling of the
#               above exception" with a stranger's traceback, frames and sockets of ended tasks are kept alive by the
#               chain, and each raise walks it.
# What to do:   in compiled coroutines keep the exception in a variable, wait after the handler, and raise it again
#               then; leave `async with` of a TaskGroup to a function that stays interpreted.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python with headers, no C compiler).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
command -v cc >/dev/null || { echo "no C compiler"; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet "mypy[mypyc]==2.4.1" setuptools==80.9.0 >pip.log 2>&1 ||
    { cat pip.log || true; exit 77; }
venv/bin/python -c 'import os, sysconfig
raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { echo "no Python.h"; exit 77; }

cat >compiled.py <<'PY'
import asyncio


async def leaves_in_order() -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0.05)
PY
cp compiled.py interpreted.py
venv/bin/mypyc compiled.py >mypyc.log 2>&1 || { cat mypyc.log; exit 77; }

cat >check.py <<'PY'
import asyncio
import sys

import compiled
import interpreted


def depth():
    """The exceptions in the chain of contexts of one that is raised here, where none is being handled."""
    try:
        raise ValueError
    except ValueError as error:
        found, context = 0, error.__context__
        while context is not None:
            found, context = found + 1, context.__context__
        return found


async def cancelled(coroutine):
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    return depth()


async def main():
    seen = {
        "interpreted": [await cancelled(interpreted.leaves_in_order()) for _ in range(4)],
        "compiled": [await cancelled(compiled.leaves_in_order()) for _ in range(4)],
    }
    for name, depths in seen.items():
        print(f"{name}: contexts after each of four cancelled coroutines: {depths}")
    return seen == {"interpreted": [0, 0, 0, 0], "compiled": [1, 2, 3, 4]}


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python check.py
