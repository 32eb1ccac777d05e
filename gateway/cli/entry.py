"""``atls-gateway`` as it is started: the daemon at once, every other command by click (``main``).

click and what it brings is 1.2 MiB, which a daemon would hold for months after it has read three words.
"""

from __future__ import annotations

import sys


def main() -> None:
    match sys.argv[1:]:
        case ["run"] | ["run", "-c" | "--config", _] as words:  # ``main`` takes every other form of it
            from gateway.cli.serving import serve

            serve(words[2] if words[1:] else None)
        case _:
            from gateway.cli.main import main as click_main

            click_main(prog_name="atls-gateway")
