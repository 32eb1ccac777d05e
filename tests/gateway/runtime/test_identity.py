"""The gateway's id, the view that adapters have of the gateway, and addresses in the spellings of others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime import identity
from gateway.runtime.config_types import parse_eui64


def test_the_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = identity.kept(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert identity.kept(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["gateway-id"]
    assert (tmp_path / "gateway-id").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"name\n", b"\xff\xfe", b"0" * 31])
def test_a_file_that_holds_no_id_is_written_again(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "gateway-id").write_bytes(text)
    found = identity.kept(tmp_path)
    assert identity.kept(tmp_path) == found
    assert len(found) == 32


ADDRESS = "00:0d:6f:00:0b:5d:e3:b6"


@pytest.mark.parametrize(
    "text",
    [
        ADDRESS,
        ADDRESS.upper(),
        "0x000d6f000b5de3b6",
        "0X000D6F000B5DE3B6",
        "000d6f000b5de3b6",
        "00-0D-6F-00-0B-5D-E3-B6",
        f" {ADDRESS} ",
    ],
)
def test_an_eui64_is_taken_in_any_usual_spelling(text: str) -> None:
    assert parse_eui64(text) == ADDRESS


@pytest.mark.parametrize(
    "value", ["", ADDRESS[:-3], ADDRESS + ":00", "00:0d-6f:00:0b:5d:e3:b6", "0d:6f", "lamp", 270532, None, ["00"]]
)
def test_a_malformed_eui64_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected an address such as \"00:0d:6f"):
        parse_eui64(value)


@given(st.text())
def test_of_any_text_comes_an_address_or_a_value_error(text: str) -> None:
    try:
        assert re.fullmatch(r"([0-9a-f]{2}:){7}[0-9a-f]{2}", parse_eui64(text))
    except ValueError:
        pass
