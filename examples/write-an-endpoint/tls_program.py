"""The program behind a relay: it runs TLS or DTLS, and knows nothing of gateways.

It writes each unit of layer 0 to standard output and reads those of the other end from standard input, each after its
length in four octets, big-endian. Length 0, or the end of the file, is the end of the session.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from typing import IO

LONGEST = {"adtls": 65536, "atls": 4096}
"""A datagram goes as it is; a stream is cut, so that no piece is above the gateway's limit of 4096 octets."""


class TlsProgram:
    def __init__(self, options: argparse.Namespace) -> None:
        self._process = subprocess.Popen(options.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._longest = LONGEST[options.kind]
        self._record: IO[str] | None = options.record
        self._said_end = False

    def units(self) -> Iterator[bytes]:
        """What the program says, until it ends the session."""
        stream = self._process.stdout
        while size := int.from_bytes(stream.read(4), "big"):
            octets = stream.read(size)
            for start in range(0, size, self._longest):
                unit = octets[start : start + self._longest]
                self._note("sent", unit)
                yield unit

    def hear(self, unit: bytes) -> None:
        """Hand it the other end's next unit; no octets are the end of the session."""
        if self._said_end:
            return
        self._said_end = not unit
        self._note("heard", unit)
        try:
            self._process.stdin.write(len(unit).to_bytes(4, "big") + unit)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended

    def wait(self) -> int:
        """Its exit status."""
        self.hear(b"")
        return self._process.wait()

    def _note(self, what: str, unit: bytes) -> None:
        if self._record is not None:
            self._record.write(f"{what} {unit.hex()}\n")  # as one: both ways are noted, each by a thread
            self._record.flush()


def arguments(usage: str) -> argparse.ArgumentParser:
    """What every relay takes; ``usage``: its own first line."""
    parser = argparse.ArgumentParser(description=usage, usage="%(prog)s OPTIONS -- PROGRAM ARGUMENT ...")
    parser.add_argument("--open", metavar="ALIAS", help="open a session to ALIAS; else wait for one in the inbox")
    parser.add_argument("--kind", choices=sorted(LONGEST), required=True, help="adtls: datagrams; atls: a stream")
    parser.add_argument("--record", type=argparse.FileType("w"), help="write each unit into this file, in hexadecimal")
    parser.add_argument("command", nargs="+", help="the program that runs TLS")
    return parser
