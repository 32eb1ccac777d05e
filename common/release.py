"""Exceptions that were dealt with, without the frames that they passed through."""

from __future__ import annotations


def release(error: BaseException) -> None:
    """Let go of the frames that ``error``, and each error that led to it, passed through.

    asyncio's have the future that failed among their variables, and that future has the error: a circle, in which a TLS
    handshake that failed keeps its buffers, 256 KiB, until garbage is collected. The collector counts objects and not
    octets, so several hundred MiB can be waiting for it.
    """
    found: set[int] = set()  # two may have led to each other, and some have no hash
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in found:
            found.add(id(each))
            each.__traceback__ = None
            left += (each.__cause__, each.__context__)
