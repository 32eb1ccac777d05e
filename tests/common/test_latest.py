"""A full memory forgets what was added the longest ago, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.latest import Latest


@given(keys=st.lists(st.integers(0, 6) | st.none()), most=st.integers(1, 4))
def test_the_latest_keys_are_known(keys: list[int | None], most: int) -> None:
    latest: Latest[int | None] = Latest(most)
    model: list[int | None] = []
    for key in keys:
        assert latest.add(key) is (key not in model)
        model = [*(each for each in model if each != key), key][-most:]
        assert len(latest) == len(model) and all(each in latest for each in model)
        assert not any(each in latest for each in {*range(7), None} - {*model})
