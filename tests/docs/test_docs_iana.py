"""docs/iana.md names what the code sends, and says of each name whether it is registered."""

from __future__ import annotations

from carriage.coap import atls_format as coap_format
from carriage.http import atls_format as http_format
from carriage.mqtt import messages as mqtt_messages
from endpoint.authorities import CERTS_ONLY
from tests.harness.docs_page import read

REGISTERED = {"application/oscore", "application/edhoc+cbor-seq", str(CERTS_ONLY), "est"}
"""By the standards that define them; all other names are this project's or an expired draft's."""


def test_names_and_their_state() -> None:
    rows = {row[0].strip("`"): row for row in read("iana.md").rows("name")}
    media_types = {
        *http_format.MEDIA_TYPES.values(),
        http_format.DRAFT_MEDIA_TYPE,
        *mqtt_messages.CONTENT_TYPES.values(),
    }
    formats = coap_format.DEFAULT_FORMATS
    numbers = {str(number) for number in (formats.atls, formats.adtls, formats.atls_data)}
    others = {"atls", "ATLS-Seq", "application-layer-tls", "est", str(CERTS_ONLY)}
    assert set(rows) == media_types | numbers | others
    for name, row in rows.items():
        assert row[2].startswith("yes, RFC ") == (name in REGISTERED), name
        assert (row[2] == "experimental use") == (name in numbers), name
    assert "ATLS-Seq".lower() == http_format.SEQ
    assert http_format.WELL_KNOWN == "/.well-known/atls"
