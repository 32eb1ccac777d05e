"""The output of an endpoint process: one JSON object a line, or one line of text for a person.

Events: ``ready``, ``hello``, ``session``, ``sent``, ``received``, ``ended``, ``refused``, ``exported``, ``learnt``,
``first-hop``, ``error``. The text of a message is shown because this process is its rightful reader; nothing of it goes
to the log.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

from common.printable import printable

SHOWN = 200
"""Octets of a message that are shown as text."""

_TEXT: dict[str, str] = {
    "ready": "ready on {way}",
    "hello": "session {session} to {to}: layer 0 has its hello, {size} octets; connecting",
    "session": "session {session} with {peer}: {protocol} {suite}, {kind}",
    "sent": "session {session}: sent {size} octets, {status} in {seconds} s, sha256 {sha256:.16}",
    "received": "session {session}: read {size} octets, sha256 {sha256:.16} {text}",
    "ended": "session {session}: ended, {reason}",
    "refused": "the gateway refused {to}: {reason}",
    "exported": "session {session}: exported {label}",
    "learnt": "session {session}: learnt the authorities of this network, kept in {file}",
    "first-hop": "{host} is not trusted ({why}): it shows {subject}, issued by {issuer}, spki sha256 {spki_sha256}; "
    "none of our secrets goes there, except inside layer 0",
    "error": "error: {reason}",
}

Report = Callable[..., None]
"""``report(event, **facts)``."""


def reporter(*, as_json: bool, stream: TextIO = sys.stdout) -> Report:
    """A report function that writes to ``stream`` and flushes each line."""

    def report(event: str, **facts: Any) -> None:
        if as_json:
            line = json.dumps({"event": event, **facts}, separators=(",", ":"))
        else:
            line = printable(_TEXT[event].format_map({"text": "", **facts}))
        stream.write(line + "\n")
        stream.flush()

    return report


def message_facts(data: bytes) -> dict[str, Any]:
    """Size, digest and, if it is short printable text, the text of a message."""
    facts: dict[str, Any] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) <= SHOWN:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return facts
        if text.isprintable():
            facts["text"] = text
    return facts
