"""What a peer may send in place of something valid: for the tests that readers raise PeerError and nothing else."""

from __future__ import annotations

import random

from hypothesis import strategies as st

AWKWARD = (
    b"[" * 900,
    b'{"a":' * 300,
    b"9" * 400,
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"-Infinity",
    b"null",
    b"\\ud800",
    b'"\\u0000"',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\0",
    b"\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x01",
    b"/",
    b"+",
    b"#",
    b"{",
    b"}",
    b",",
)
"""Pieces that readers stumble over: nesting, numbers beyond every range, what is no Unicode, lengths that lie."""


@st.composite
def mutated(draw: st.DrawFn, *valid: bytes) -> bytes:
    """One of ``valid`` with up to six changes: cut, repeated, overwritten, joined with another, or an awkward piece."""
    octets = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(octets)))
        stop = draw(st.integers(start, min(len(octets), start + 12)))
        piece = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=6),
                st.sampled_from(AWKWARD),
                st.sampled_from(valid),
                st.just(2 * octets[start:stop]),
            )
        )
        octets = octets[:start] + piece + octets[stop:]
    return octets


def mutate(rng: random.Random, octets: bytes) -> bytes:
    """The same by a seed, for what goes over a real broker."""
    for _ in range(rng.randrange(4)):
        start = rng.randint(0, len(octets))
        stop = rng.randint(start, min(len(octets), start + 12))
        piece = rng.choice((b"", rng.randbytes(rng.randrange(6)), rng.choice(AWKWARD), 2 * octets[start:stop]))
        octets = octets[:start] + piece + octets[stop:]
    return octets
