"""A request to a service as it is written; its connections and answers are in test_http_north_hostile.py and others."""

from __future__ import annotations

import pytest

from adapters.http.north_exchange import message_of

FIXED = "host: cloud.example\r\nauthorization: Bearer t\r\n"


def test_a_request_in_one_piece() -> None:
    assert message_of("POST", "/atls/s?a=b", FIXED, (("atls-seq", "3"), ("cookie", "a=b; c=d")), b"\x00\r\n") == (
        b"POST /atls/s?a=b HTTP/1.1\r\nhost: cloud.example\r\nauthorization: Bearer t\r\ncontent-length: 3\r\n"
        b"atls-seq: 3\r\ncookie: a=b; c=d\r\n\r\n\x00\r\n"
    )
    assert message_of("DELETE", "/", "", (), b"") == b"DELETE / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nx: y", "a\nx: y", "a\rb", "a\0b"])
def test_what_would_be_two_lines_is_not_sent(text: str) -> None:
    for target, fields in ((f"/{text}", ()), ("/", (("cookie", text),)), ("/", ((text, "v"),))):
        with pytest.raises(ValueError, match="can't be sent"):
            message_of("POST", target, FIXED, fields, b"")
