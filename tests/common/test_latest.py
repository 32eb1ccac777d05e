"""A full memory forgets what was added the longest ago, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.latest import Latest, LatestValues


@given(keys=st.lists(st.integers(0, 6) | st.none()), most=st.integers(1, 4))
def test_the_latest_keys_are_known(keys: list[int | None], most: int) -> None:
    latest: Latest[int | None] = Latest(most)
    model: list[int | None] = []
    for key in keys:
        assert latest.add(key) is (key not in model)
        model = [*(each for each in model if each != key), key][-most:]
        assert len(latest) == len(model) and all(each in latest for each in model)
        assert not any(each in latest for each in {*range(7), None} - {*model})


@given(puts=st.lists(st.tuples(st.integers(0, 6), st.integers())), most=st.integers(1, 4))
def test_the_latest_values_are_kept_by_age_and_the_rest_is_counted(puts: list[tuple[int, int]], most: int) -> None:
    latest: LatestValues[int, int] = LatestValues(most)
    model: list[tuple[int, int]] = []
    evicted = 0
    for key, value in puts:
        latest.put(key, value)
        model = [*(each for each in model if each[0] != key), (key, value)]
        evicted += len(model) > most
        model = model[-most:]
        assert list(latest.items()) == model and latest.evicted == evicted
