"""The files of Mosquitto 2, as text: its config for Debian's conf.d, the list of who may use which topic, the logins.

Nothing here touches a file. The shipped samples (config/mosquitto.*) say the same by hand.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ITERATIONS: Final = 101  # as mosquitto_passwd has it; what is hashed are 96 random bits
_SALT: Final = 12
_BEGIN: Final = "# Written by atls-gateway broker-setup, digest "
_END: Final = ". What you change here stays: a later run writes its own beside it."

# %s is a login. Who opens sessions: below its own login only, and what the gateway says to all.
_SESSIONS: Final = (
    "topic write {prefix}/{user}/atls/open",
    "topic write {prefix}/{user}/atls/gone",
    "topic write {prefix}/{user}/atls/+/up/+",
    "topic write {prefix}/{user}/atls/+/close",
    "topic read {prefix}/{user}/atls/status",
    "topic read {prefix}/{user}/atls/incoming",
    "topic read {prefix}/{user}/atls/+/down/+",
    "topic read {prefix}/{user}/atls/+/status",
    "topic read {prefix}/bridge/state",
)
_HOME: Final = (
    "topic read {base}/+",
    "topic read {base}/+/availability",
    "topic read {base}/+/answer/#",
    "topic read {base}/+/event/+",
    "topic read {base}/+/value/+",
    "topic read {base}/bridge/state",
    "topic read {base}/bridge/info",
    "topic read {base}/bridge/devices",
    "topic read {base}/bridge/groups",
    "topic read {base}/bridge/event",
    "topic read {base}/bridge/health",
    "topic read {base}/bridge/logging",
    "topic read {base}/bridge/response/#",
    "topic write {base}/+/set",
    "topic write {base}/+/set/+",
    "topic write {base}/+/get",
    "topic write {base}/+/get/+",
    "topic write {base}/+/+/set",
    "topic write {base}/+/+/get",
    "topic write {base}/+/action/+",
    "topic write {base}/bridge/request/#",
    "topic readwrite {discovery}/#",
)
_GATEWAY: Final = ("topic readwrite {prefix}/#", "topic readwrite {base}/#", "topic readwrite {discovery}/#")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerNames:
    """The content of the files: topics as ``adapters.mqtt`` has them, and logins."""

    prefix: str = "atls"
    base: str = "home"
    discovery: str = "homeassistant"
    gateway: str = "gateway"
    sessions: tuple[str, ...] = ()
    """Logins of the policy's subjects with ``user:``."""
    home: tuple[str, ...] = ()
    """Logins that read and set devices, as far as the policy lets the broker."""

    @property
    def logins(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.gateway, *self.sessions, *self.home)))


def login_problem(name: str) -> str | None:
    """Why a login of that name could not be distinguished in a list of topics, or None."""
    if not name or not name.isprintable() or name != name.strip() or set(name) & set("+#/:$") or name == "bridge":
        return "expected printable characters without + # / : $, and not the name bridge"
    return None


def acl(names: BrokerNames) -> str:
    """Each login with its own lines; a topic that no line permits is denied."""
    parts: list[tuple[str, tuple[str, ...]]] = [(names.gateway, _GATEWAY)]
    for user in names.logins[1:]:
        lines = (_SESSIONS if user in names.sessions else ()) + (_HOME if user in names.home else ())
        parts.append((user, lines))
    blocks = []
    for user, lines in parts:
        filled = (
            line.format(prefix=names.prefix, base=names.base, discovery=names.discovery, user=user) for line in lines
        )
        blocks.append("\n".join((f"user {user}", *filled)))
    return signed("\n\n".join(blocks) + "\n")


def home_logins(text: str) -> list[str]:
    """The logins of a list that may set devices, but for the gateway's own."""
    found, user = [], ""
    for line in text.splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ")
        elif line.startswith("topic write ") and line.endswith("/+/set") and user not in found:
            found.append(user)
    return found


def conf(folder: str, port: int) -> str:
    """For ``/etc/mosquitto/conf.d``: nothing that Debian's own mosquitto.conf says already."""
    return signed(
        f"""\
listener {port}
certfile {folder}/broker.pem
keyfile {folder}/broker.key
tls_version tlsv1.2

allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl

persistent_client_expiration 1d
# Without it each small message waits until TCP acknowledged the one before: some 20 ms instead of 2.
set_tcp_nodelay true
# Clients of MQTT 3.1.1 can't say how many messages they take at once, and the default is 20.
max_inflight_messages 1000
# A handshake comes as a burst of messages; what is dropped here costs a repetition after seconds.
max_queued_messages 1000
max_packet_size 20480
"""
    )


def signed(text: str) -> str:
    """With a first line by which a later run sees whether another program has changed it."""
    return f"{_BEGIN}{_digest(text)}{_END}\n{text}"


def untouched(text: str) -> bool:
    """Whether it is as ``signed`` left it."""
    first, _, rest = text.partition("\n")
    return first == f"{_BEGIN}{_digest(rest)}{_END}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hashed(password: str, salt: bytes | None = None, iterations: int = _ITERATIONS) -> str:
    """As mosquitto_passwd writes it: ``$7$`` and PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(_SALT) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def fits(password: str, entry: str) -> bool:
    """Whether a line's hash is this password's."""
    try:
        empty, kind, iterations, salt, _ = entry.split("$")
        again = hashed(password, base64.b64decode(salt), int(iterations))
    except ValueError:
        return False
    return (empty, kind) == ("", "7") and hmac.compare_digest(again, entry)


def entries(text: str) -> dict[str, str]:
    """Login to hash of a passwords file."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {login: entry for login, _, entry in pairs}


def passwords(table: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{login}:{entry}\n" for login, entry in table)
