"""Messages that no peer should send: read or refused, and nothing but PeerError is raised."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http.south_tokens import bearer, holder
from adapters.http.vocabulary import service_url
from carriage.http import atls, device_resources
from carriage.http.atls import HttpRequest, HttpResponse
from tests.harness.http_fuzz import FIELDS, METHODS, TARGETS, run

NAMES = st.sampled_from([name for name, _ in FIELDS])


@pytest.mark.parametrize("seed", range(4))
def test_mutated_messages(seed: int) -> None:
    run(2_000, seed)


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.sampled_from(METHODS) | st.text(max_size=8),
    st.sampled_from(TARGETS) | st.text(max_size=60).map("/atls/".__add__) | st.text(max_size=60).map("/d/".__add__),
    st.lists(st.tuples(NAMES, st.text(max_size=40)), max_size=5),
    st.binary(max_size=60),
)
def test_any_text(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> None:
    request = HttpRequest(method, target, tuple(fields), body)
    for parse in (atls.parse, device_resources.parse):
        found = parse(request)
        if isinstance(found, HttpResponse):
            assert 400 <= found.status <= 599


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=60))
def test_any_authorization_and_any_url(text: str) -> None:
    token = bearer(f"Bearer {text}")
    if token is not None:
        assert token.isascii() and holder({"phone": bytes(32)}, token) is None
    try:
        url = service_url(f"https://{text}")
    except ValueError:
        return
    assert service_url(url) == url, "normalising twice is normalising once"
