"""A separate Debian: made by debootstrap and kept, copied for each use, entered or booted by systemd-nspawn.

Nothing is mounted in this machine's own namespace: what nspawn mounts goes when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SUITES = {"12": "bookworm", "13": "trixie"}
TOOLS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux", "ps": "procps"}
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
"""What Debian's installer writes, and debootstrap doesn't."""
CLONE = "/root/atls-gateway"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUNDLE = "/usr/local/share/trust-of-the-host.pem"
BOOT_PATIENCE = 60.0


class CanNotRunError(Exception):
    """This machine can't do it, and why; no fault of the project."""


class FailedError(Exception):
    """What was expected and what was found."""


def expect(holds: object, what: str) -> None:
    if not holds:
        raise FailedError(f"expected {what}")


def prepare() -> Path:
    """The cache folder, on a machine that has all that is needed. Raises CanNotRunError."""
    if os.geteuid() != 0:
        raise CanNotRunError("it makes and boots a Debian, which takes root")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        if shutil.which("apt-get") is None:
            raise CanNotRunError(f"not installed: {' '.join(missing)}")
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        if subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, check=False).returncode:
            raise CanNotRunError(f"not installed, and can't be: {' '.join(missing)}")
    cache = Path(os.environ.get("BOOT_TEST_CACHE") or PROJECT / ".cache" / "boot-test")
    cache.mkdir(parents=True, exist_ok=True)
    _alone_in(cache)
    return cache.resolve()


def _alone_in(cache: Path) -> None:
    """Wait until no other run uses the cache; the lock is held until this process ends."""
    held = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stdout.write(f"waiting for another run in {cache}\n")
        sys.stdout.flush()
        fcntl.flock(held, fcntl.LOCK_EX)


def fresh(debian: str, cache: Path, purpose: str) -> Root:
    """A root as debootstrap makes it (minbase, with systemd), with the packages of earlier runs at hand."""
    suite = SUITES[debian]
    base, made = cache / suite, cache / f"{suite}.made"
    if not base.exists():
        shutil.rmtree(made, ignore_errors=True)
        mirror = os.environ.get("BOOT_TEST_MIRROR", "http://deb.debian.org/debian")
        include = "--include=systemd,systemd-sysv,dbus"
        made_by = subprocess.run(
            ["debootstrap", "--variant=minbase", include, suite, made, mirror],
            capture_output=True,
            text=True,
            check=False,
        )
        if made_by.returncode:
            last = (made_by.stdout + made_by.stderr).strip().splitlines()[-1:]
            raise CanNotRunError(f"debootstrap {suite} failed: {' '.join(last)}")
        made.rename(base)
    folder = cache / f"{suite}-{purpose}"
    if folder.exists():
        shutil.rmtree(folder)
    subprocess.run(["cp", "-a", "--reflink=auto", base, folder], check=True)
    (folder / "etc/hosts").write_text(HOSTS)
    return Root(folder, debian, cache)


class Root:
    """The files of a Debian, and a container in them that isn't booted and has this machine's network."""

    def __init__(self, folder: Path, debian: str, cache: Path) -> None:
        self.folder, self.debian, self.cache = folder, debian, cache
        self._shared = {
            cache / f"debs-{debian}": "/var/cache/apt/archives",
            cache / "pip": "/root/.cache/pip",
        }
        for kept in self._shared:
            (kept / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "etc/apt/apt.conf.d/99keep").write_text('Binary::apt::APT::Keep-Downloaded-Packages "true";\n')
        trusted = next(filter(None, map(os.environ.get, ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))), None)
        self._environ = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        self._environ["NOTIFY_SOCKET"] = ""  # nspawn's, for an init: a program that finds it takes itself for a service
        if trusted:  # a proxy on the way to the registries may have its own authority
            shutil.copy(trusted, self.path(_BUNDLE))
            self._environ |= {"PIP_CERT": _BUNDLE, "SSL_CERT_FILE": _BUNDLE, "NODE_EXTRA_CA_CERTS": _BUNDLE}
        for name in ("PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy"):
            if name in os.environ:
                self._environ[name] = os.environ[name]

    def keep(self, name: str, inside: str) -> None:
        """A folder that stays for the next root."""
        (self.cache / name).mkdir(exist_ok=True)
        self._shared[self.cache / name] = inside

    def path(self, inside: str) -> Path:
        return self.folder / inside.lstrip("/")

    def clone(self) -> None:
        """This checkout as it is now, without what git ignores, in the place to which a user would have cloned it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        target = self.path(CLONE)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in filter(None, listed.split("\0")):
            if (origin := PROJECT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, target / name, follow_symlinks=False)

    def command(self, script: str, environ: dict[str, str] | None = None) -> list[str]:
        """How a script is run as root, in the clone if there is one."""
        options = [f"--setenv={name}={value}" for name, value in (self._environ | (environ or {})).items()]
        options += [f"--bind={here}:{there}" for here, there in self._shared.items()]
        if self.path(CLONE).exists():
            options.append(f"--chdir={CLONE}")
        return [
            "systemd-nspawn", "--quiet", f"--directory={self.folder}", f"--machine={self.folder.name}", "--register=no",
            "--keep-unit", "--pipe", "--resolv-conf=copy-host", "--timezone=off", "--capability=all",
            "--system-call-filter=@debug @mount bpf", *options, "/bin/bash", "-ec", script,
        ]  # fmt: skip

    def inside(self, script: str, *, environ: dict[str, str] | None = None, stream: bool = False) -> str:
        """Run a script. FailedError if it ends with another status than 0."""
        said = subprocess.run(
            self.command(script, environ), stdin=subprocess.DEVNULL, stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise FailedError(f"status {said.returncode} of:\n{script}\n{(said.stdout or '')[-4000:]}")
        return said.stdout or ""


class Machine:
    """A root that is booted, without a network but loopback. ``boots`` counts."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.boots = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> None:
        """Raises CanNotRunError where not even this bare Debian comes up, the first time."""
        self.boots += 1
        log = self.root.cache / f"{self.root.folder.name}.boot"
        command = [
            "systemd-nspawn", "--quiet", f"--directory={self.root.folder}", f"--machine={self.root.folder.name}",
            "--boot", "--register=no", "--keep-unit", "--console=pipe", "--private-network", "--capability=all",
            "--system-call-filter=bpf", "--timezone=off",
        ]  # fmt: skip
        with log.open("wb") as output:
            self._nspawn = subprocess.Popen(
                command,
                env=os.environ | {"UNIFIED_CGROUP_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        limit = time.monotonic() + BOOT_PATIENCE
        state = ""
        while state not in ("running", "degraded"):
            if time.monotonic() > limit or self._nspawn.poll() is not None:
                last = " ".join(log.read_text(errors="replace").split("\n")[-3:])
                why = f"systemd-nspawn does not boot Debian {self.root.debian} here ({state or last})"
                raise CanNotRunError(why) if self.boots == 1 else FailedError(why)
            time.sleep(0.2)
            self._init = self._init or self._child()
            state = self._enter("systemctl is-system-running").stdout.strip() if self._init else ""

    def _child(self) -> int:
        assert self._nspawn is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._nspawn.pid)], capture_output=True, text=True, check=False
        )
        return int(listed.stdout.split()[0]) if listed.stdout.split() else 0

    def _enter(self, script: str) -> subprocess.CompletedProcess[str]:
        entering = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        environ = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0"]
        return subprocess.run(
            [*entering, *environ, "/bin/bash", "-ec", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def run(self, script: str, status: int | Sequence[int] = 0) -> str:
        """What a script prints that root runs in the booted machine. FailedError if it ends with another status."""
        said = self._enter(script)
        wanted = [status] if isinstance(status, int) else status
        if said.returncode not in wanted:
            raise FailedError(f"status {said.returncode}, expected {status}, of: {script}\n{said.stdout[-3000:]}")
        return said.stdout

    def until(self, script: str, what: str, seconds: float = 40.0) -> str:
        """Run it again and again until it ends with 0."""
        limit = time.monotonic() + seconds
        while (said := self._enter(script)).returncode:
            if time.monotonic() > limit:
                raise FailedError(f"expected within {seconds:.0f} s: {what}; last: {said.stdout.strip()[-1000:]}")
            time.sleep(0.3)
        return said.stdout

    def shut_down(self) -> None:
        """As the power button does it."""
        assert self._nspawn is not None
        self._enter("systemctl poweroff")
        try:
            self._nspawn.wait(BOOT_PATIENCE)
        except subprocess.TimeoutExpired:
            raise FailedError("the machine does not shut down") from None
        self._init = 0

    def close(self) -> None:
        if self._nspawn is not None and self._nspawn.poll() is None:
            self._nspawn.terminate()  # nspawn hands that on as an orderly power-off
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(20)
            if self._nspawn.poll() is None:
                if self._init:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self._init, 9)
                self._nspawn.kill()
                self._nspawn.wait()


@contextlib.contextmanager
def booted(root: Root) -> Iterator[Machine]:
    machine = Machine(root)
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()
