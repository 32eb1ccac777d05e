"""The project's own adapters as installed plugins, whether or not the project itself is installed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
GROUP = "atls_gateway.adapters"


@pytest.fixture(scope="session")
def adapter_site(tmp_path_factory) -> Path:
    """A folder for sys.path in which the adapters are a distribution."""
    site = tmp_path_factory.mktemp("site")
    info = site / "project_adapters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: project-adapters\nVersion: 1.0\n")
    adapters = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in adapters.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def python(adapter_site):
    """Runs Python with the adapters installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATLS_")}
    environ = kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{adapter_site}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environ | more, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def broker_certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate of ``localhost`` and its key, both PEM; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(*form)
