"""docs/iana.md names what the code sends, and says of each name whether it is registered."""

from __future__ import annotations

from adapters.coap import links
from carriage.coap import atls_format as coap_format
from carriage.http import atls_format as http_format
from carriage.mqtt import messages as mqtt_messages
from endpoint.authorities import CERTS_ONLY
from tests.harness.docs_page import read

REGISTERED = {"application/oscore", "application/edhoc+cbor-seq", str(CERTS_ONLY), "est", "core", "wait", "Early-Data"}
"""By the standards that define them; all other names are this project's, another draft's or a product's."""


def test_names_and_their_state() -> None:
    rows = {row[0].strip("`"): row for row in read("iana.md").rows("name")}
    media_types = {
        *http_format.MEDIA_TYPES.values(),
        http_format.DRAFT_MEDIA_TYPE,
        *mqtt_messages.CONTENT_TYPES.values(),
    }
    formats = coap_format.DEFAULT_FORMATS
    numbers = {str(number) for number in (formats.atls, formats.adtls, formats.atls_data)}
    resource_types = {f'rt="{link.attributes[0][1]}"' for link in links.directory(("lamp7",))}
    assert resource_types == {'rt="atls"', 'rt="atls.inbox"'}
    fields = {"ATLS-Seq", "Early-Data", "Idempotency-Key", "X-Accel-Buffering"}
    assert links.root().attributes[0] == ("if", "core.ll")
    others = {'if="core.ll"` and the like', "atls", "application-layer-tls", "est", "core", "wait", str(CERTS_ONLY)}
    assert set(rows) == media_types | numbers | resource_types | fields | others
    for name, row in rows.items():
        assert row[2].startswith("yes, RFC ") == (name in REGISTERED), name
        assert (row[2] == "experimental use") == (name in numbers), name
    assert "ATLS-Seq".lower() == http_format.SEQ
    assert http_format.WELL_KNOWN == "/.well-known/atls"
