"""Makes what compose.yaml needs in ./home: config, keys, logins. What is there already is kept, so run it at any time.

Runs in the image as root without network (service ``prepare``), since each file must belong to the user of the
container that reads it: Compose mounts a secret as it is.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

HOME, SAMPLES, CONFIG = Path("/home"), Path("/samples"), Path("/config")
ROOT, GATEWAY, MOSQUITTO = 0, 5684, 1883
"""Users by number: the host's root, of our image, of the image of Mosquitto."""
LOGINS = {"gateway": "mqtt-password", "app": "app-password", "home-assistant": "home-assistant-password"}
"""Login at the broker: the file with its password."""
_ROUNDS = 1000  # each password has 192 random bits, so guessing is no way in


def main() -> None:
    os.umask(0o077)
    for name in ("", "gateway", "mosquitto", "endpoint"):
        _folder(HOME / name, ROOT, 0o755)
    _folder(HOME / "secrets", ROOT, 0o700)
    _folder(HOME / "gateway" / "keys", GATEWAY, 0o700)
    _folder(HOME / "backup", GATEWAY, 0o700)
    for source in (SAMPLES / "gateway.yaml", SAMPLES / "policy.yaml"):
        _make(HOME / "gateway" / source.name, source.read_text, ROOT, 0o644)
    _make(HOME / "gateway" / "keys" / "coap-keys", lambda: _psk("phone"), GATEWAY, 0o600)
    _make(HOME / "mosquitto" / "mosquitto.conf", (SAMPLES / "mosquitto.conf").read_text, ROOT, 0o644)
    _make(HOME / "mosquitto" / "mosquitto.acl", (CONFIG / "mosquitto.acl").read_text, MOSQUITTO, 0o600)
    _make(HOME / "endpoint" / "app.yaml", (SAMPLES / "app.yaml").read_text, ROOT, 0o644)
    _make(HOME / "secrets" / "app-psk", lambda: _psk("lamp"), GATEWAY, 0o400)
    for login, name in LOGINS.items():
        owner = ROOT if login == "home-assistant" else GATEWAY
        _make(HOME / "secrets" / name, lambda: secrets.token_urlsafe(24) + "\n", owner, 0o400)
    _make(HOME / "secrets" / "mosquitto-passwords", _hashes, MOSQUITTO, 0o400)
    _say("\nNext: write the dongle's path (ls /dev/serial/by-id) into home/gateway/gateway.yaml.")
    _say("Then: docker compose up -d")


def _folder(path: Path, owner: int, mode: int) -> None:
    path.mkdir(exist_ok=True)
    os.chown(path, owner, owner)
    path.chmod(mode)


def _make(path: Path, content: Callable[[], str], owner: int, mode: int) -> None:
    """A file that is either whole or not there."""
    if path.exists():
        _say(f"kept  {path.relative_to('/')}")
        return
    new = path.with_name(path.name + ".new")
    with new.open("w") as stream:
        stream.write(content())
        stream.flush()
        os.fsync(stream.fileno())
    os.chown(new, owner, owner)
    new.chmod(mode)
    new.rename(path)
    _say(f"made  {path.relative_to('/')}  (user {owner}, mode {mode:04o})")


def _psk(identity: str) -> str:
    return f"{identity}:{secrets.token_hex(32)}\n"


def _hashes() -> str:
    """The logins as ``mosquitto_passwd`` writes them: PBKDF2 with SHA-512, kind 7."""
    lines = []
    for login, name in LOGINS.items():
        password, salt = (HOME / "secrets" / name).read_text().strip(), secrets.token_bytes(12)
        derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
        salted = base64.b64encode(salt).decode(), base64.b64encode(derived).decode()
        lines.append(f"{login}:$7${_ROUNDS}${salted[0]}${salted[1]}\n")
    return "".join(lines)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
