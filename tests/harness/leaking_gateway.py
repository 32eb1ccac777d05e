"""``atls-gateway`` that keeps ``LEAK`` octets for ever at each callback of its loop: what a soak must notice."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.cli.main import main

LEAK = 65536
_KEPT: list[bytes] = []


def leak() -> None:
    run = asyncio.Handle._run

    def leaking(self: Any) -> None:
        _KEPT.append(b"x" * LEAK)
        run(self)

    asyncio.Handle._run = leaking  # type: ignore[method-assign]


if __name__ == "__main__":
    leak()
    main()
