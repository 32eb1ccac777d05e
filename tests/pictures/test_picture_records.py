"""How the pictures name what is on a cable: records of TLS by their types, and what is no TLS as that."""

from __future__ import annotations

import pytest

from demo.pictures.records import counted, records_of
from layer.records import APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE, SERVER_HELLO
from tests.harness.tls_octets import client_hello, server_hello, tls_message, tls_record

CLIENT = tls_record(HANDSHAKE, tls_message(CLIENT_HELLO, client_hello(dtls=False, versions=(0x0304,))))
SERVER = tls_record(HANDSHAKE, tls_message(SERVER_HELLO, server_hello(0x0304)))
CHANGE = tls_record(CHANGE_CIPHER_SPEC, b"\x01")
DATA = tls_record(APPLICATION_DATA, b"sealed")


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (CLIENT, "client_hello"),
        (SERVER + CHANGE + DATA + DATA, "server_hello, change_cipher_spec, 2 x application_data"),
        (CHANGE + DATA, "change_cipher_spec, application_data"),
        (DATA + DATA + DATA, "3 x application_data"),
        (b"", ""),
        (b"POST / HTTP/1.1\r\n", "no TLS"),
        (DATA + b"the key of the house", "no TLS"),
    ],
)
def test_records_are_named(octets: bytes, words: str) -> None:
    assert counted(records_of(octets)) == words
