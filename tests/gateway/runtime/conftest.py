"""Fixtures of a real daemon; the parts are in ``tests.harness.running_daemon``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.harness.config_folder import made_folder
from tests.harness.layer_pair import Authority
from tests.harness.running_daemon import SITE, Home


@pytest.fixture
def home():
    folder = Path(tempfile.mkdtemp(prefix="gw-"))  # short: the path of a socket has 108 octets at most
    made = Home(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture
def hop_site(monkeypatch):
    """Makes the hop adapters installed in this process too."""
    monkeypatch.syspath_prepend(str(SITE))


@pytest.fixture(scope="session")
def authority() -> bytes:
    """The certificate of a CA, in PEM."""
    return Authority("ca").pem


@pytest.fixture
def folder(tmp_path: Path, authority: bytes) -> Path:
    """A folder with a config, a policy and keys that pass check-config."""
    return made_folder(tmp_path, authority)
