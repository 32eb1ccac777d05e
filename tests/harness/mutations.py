"""Valid input that was changed: a strategy for tests of readers, and the same by a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st

_OCTETS = (0x00, 0x01, 0x7F, 0x80, 0xC2, 0xD8, 0xDF, 0xE0, 0xED, 0xF7, 0xFB, 0xFE, 0xFF)
_INTERESTING = st.sampled_from(_OCTETS)


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


def changed(random: Random, valid: Sequence[bytes]) -> bytes:
    """One of ``valid`` with up to three changes."""
    octets = random.choice(valid)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        at = random.randrange(len(octets) + 1)
        end = min(len(octets), at + random.randrange(6))
        match random.randrange(5):
            case 0:
                octets = octets[:at] + bytes((random.choice((*_OCTETS, random.randrange(256))),)) + octets[at + 1 :]
            case 1:
                octets = octets[:at] + random.randbytes(random.randrange(4)) + octets[at:]
            case 2:
                octets = octets[:at] + octets[end:]
            case 3:
                octets = octets[:end] + octets[at:end] * random.randrange(1, 20) + octets[end:]
            case _:
                octets = octets[:at] + random.choice(valid)[at:]
    return octets
