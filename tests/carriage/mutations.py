"""Valid input that was changed: a strategy for tests of readers."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_INTERESTING = st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xC2, 0xD8, 0xDF, 0xE0, 0xED, 0xF7, 0xFB, 0xFE, 0xFF])


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of ``valid`` with up to five changes: octets replaced, put in, taken out, repeated, cut off, spliced."""
    octets = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(octets)))
        end = min(len(octets), at + draw(st.integers(0, 6)))
        match draw(st.integers(0, 5)):
            case 0:
                octets = octets[:at] + bytes((draw(_INTERESTING | st.integers(0, 255)),)) + octets[at + 1 :]
            case 1:
                octets = octets[:at] + draw(st.binary(max_size=4)) + octets[at:]
            case 2:
                octets = octets[:at] + octets[end:]
            case 3:
                octets = octets[:end] + octets[at:end] * draw(st.integers(1, 40)) + octets[end:]
            case 4:
                octets = octets[:at]
            case _:
                other = draw(st.sampled_from(valid))
                octets = octets[:at] + other[min(at, len(other)) :]
    return octets
