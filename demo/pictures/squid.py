"""The forward proxy of the pictures: Squid, which takes CONNECT over TLS from those who log in, and what it saw."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from demo.credentials import write_secret
from demo.pictures.boxes import start_box
from demo.process import ProcessFailedError
from demo.stack import Stack, free_port

USER: Final = "proxy"
"""As whom Debian's Squid runs if root starts it; it refuses to run as root."""

_CONFIG: Final = """\
http_port 127.0.0.1:{port}
https_port 127.0.0.1:{tls_port} tls-cert={folder}/service.pem tls-key={folder}/service.key
pid_filename none
cache deny all
coredump_dir {folder}
cache_log {folder}/cache.log
logformat seen %rm %ru -> %>Hs, user %un
access_log stdio:{folder}/access.log seen
buffered_logs off
pinger_enable off
auth_param basic program /usr/lib/squid/basic_ncsa_auth {folder}/users
auth_param basic children 1
acl known proxy_auth REQUIRED
acl services port {services}
http_access deny !CONNECT
http_access deny !services
http_access allow known
http_access deny all
shutdown_lifetime 0 seconds
"""


class Squid:
    """With the certificate ``service`` of the stack, for ``users`` (passwords by name), to these ports of services.

    ``port``: for CONNECT in clear, ``tls_port``: over TLS. ``log``: once it has stopped, a line for each tunnel and
    each refusal.
    """

    def __init__(self, stack: Stack, users: Mapping[str, str], services: Sequence[int]) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self.services = services
        self.log: list[str] = []
        self._stack = stack
        self._users = users

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Its folder is outside of the stack's: only the stack's user may enter that, and Squid may be another one."""
        folder = Path(tempfile.mkdtemp(prefix="squid-"))
        try:
            config = self._write(folder)
            # Two of one name would share memory.
            name = f"picture{os.getpid()}x{self.port}"
            command = ["/usr/sbin/squid", "-N", "-n", name, "-f", str(config)]
            box = await start_box(self._stack, "squid", command, self.tls_port)
            try:
                yield
            finally:
                await box.stop()
                self.log = (folder / "access.log").read_text().splitlines()
        finally:
            shutil.rmtree(folder)

    def _write(self, folder: Path) -> Path:
        users = "".join(f"{user}:{_hash(password)}\n" for user, password in self._users.items())
        write_secret(folder / "users", users.encode())
        for name in ("service.pem", "service.key"):
            write_secret(folder / name, (self._stack.directory / name).read_bytes())
        config = folder / "squid.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder, port=self.port, tls_port=self.tls_port, services=" ".join(map(str, self.services))
            )
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, USER, USER)
        return config


def _hash(password: str) -> str:
    """As Apache's htpasswd has it."""
    done = subprocess.run(
        ["openssl", "passwd", "-apr1", "-stdin"], input=password, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProcessFailedError(f"openssl passwd failed: {done.stderr}")
    return done.stdout.strip()
