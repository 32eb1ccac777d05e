"""The sample config and policy for clients over HTTP pass the check."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from cryptography import x509

from tests.harness.layer_pair import Authority

FOLDER = Path(__file__).parents[2] / "config" / "http"


def test_the_sample_passes_the_check(python, tmp_path):
    for name in ("gateway.yaml", "policy.yaml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "keys").mkdir()
    authority = Authority("home")
    ours = authority.issue("gateway")
    tokens = f"dashboard:{hashlib.sha256(b'token').hexdigest()}\n".encode()
    for name, octets in (("keys/gateway.key", ours.key_pem), ("keys/tokens", tokens)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "gateway.pem").write_bytes(ours.chain)
    (tmp_path / "clients.pem").write_bytes(authority.pem)
    command = ("-m", "gateway.cli", "check-config", "-c", str(tmp_path / "gateway.yaml"))
    refused = python(*command)
    assert refused.returncode == 78 and "names: expected the host names that clients call us by" in refused.stderr
    ours = authority.issue("gateway", x509.DNSName("gateway.home.example"))
    (tmp_path / "gateway.pem").write_bytes(ours.chain)
    (tmp_path / "keys/gateway.key").write_bytes(ours.key_pem)
    answer = python(*command)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "adapters: zigbee, http" in answer.stdout
