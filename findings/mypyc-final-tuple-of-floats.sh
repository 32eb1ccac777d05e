#!/bin/sh
# A constant tuple of floats doesn't exist in the module that mypyc compiled: NameError at its first use.
#
# Software:     mypy[mypyc] 2.4.1, setuptools 80.9.0; Python 3.11 with headers, a C compiler.
# Expected:     `PAUSES: Final = (0.5, 1.0)` is a constant like `(1, 2)` and `("a", "b")`, which work. mypyc and the C
#               compiler say nothing.
# Happens:      the module is imported, and every function that names the tuple of floats raises NameError: value for
#               final name "PAUSES" was not set. Integers and strings in its place work, and so does the same tuple in
#               an interpreted module.
# Who meets it: who compiles a module with back-off times or thresholds in a tuple: nothing fails until the first
#               fault that needs them.
# What to do:   import such a tuple from a module that stays interpreted, or annotate it as tuple[float, ...] (not the
#               inferred fixed length), and have a test call each function of a compiled module.
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
from typing import Final

PAUSES: Final = (0.5, 1.0)
OPEN_PAUSES: Final[tuple[float, ...]] = (0.5, 1.0)
NUMBERS: Final = (1, 2)
WORDS: Final = ("a", "b")


def pauses() -> float:
    return PAUSES[0]


def open_pauses() -> float:
    return OPEN_PAUSES[0]


def numbers() -> int:
    return NUMBERS[0]


def words() -> str:
    return WORDS[0]
PY
cp compiled.py interpreted.py
venv/bin/mypyc compiled.py >mypyc.log 2>&1 || { cat mypyc.log; exit 77; }

cat >check.py <<'PY'
import sys

import compiled
import interpreted


def called(function):
    try:
        return function()
    except NameError as error:
        return f"NameError: {error}"


names = ("pauses", "open_pauses", "numbers", "words")
seen = {module.__name__: [called(getattr(module, name)) for name in names] for module in (interpreted, compiled)}
for name, found in seen.items():
    print(f"{name}: {found}")
missing = 'NameError: value for final name "PAUSES" was not set'
sys.exit(seen != {"interpreted": [0.5, 0.5, 1, "a"], "compiled": [missing, 0.5, 1, "a"]})
PY
venv/bin/python check.py
