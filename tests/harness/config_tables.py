"""The tables of adapters in tests: files that they name, and the one mistake of a table that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pydantic import BaseModel, ValidationError

from gateway.api.errors import ConfigError
from tests.harness.layer_pair import Authority


def write_files(folder: Path, more: Mapping[str, bytes]) -> Path:
    """Certificates with good and wrong keys, what is neither, and ``more``; others can read what begins with open."""
    authority = Authority("ca")
    good, other = (authority.issue(name, x509.DNSName(name)) for name in ("good", "other"))
    files = {
        "ca.pem": authority.pem,
        "good.pem": good.chain,
        "good.key": good.key_pem,
        "other.key": other.key_pem,
        "open.key": good.key_pem,
        "empty": b"",
        "text": b"hello",
    }
    for name, content in (files | dict(more)).items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644 if name.startswith("open") else 0o600)
    return folder


def form_mistake(model: type[BaseModel], table: dict[str, Any]) -> str:
    """The one mistake in the form of a table, with its key."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(table)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def meaning_mistake(
    configure: Callable[[Path, dict[str, Any]], Any], folder: Path, table: dict[str, Any]
) -> ConfigError:
    """The one mistake in what a table means, in one line that shows no key."""
    with pytest.raises(ConfigError) as caught:
        configure(folder, table)
    text = str(caught.value)
    assert "\n" not in text and "BEGIN" not in text
    return caught.value
