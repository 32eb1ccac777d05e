"""Letting go of the frames of an exception and of those that led to it."""

from __future__ import annotations

from threading import Thread

from common.release import release


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_error_and_all_that_led_to_it_have_no_frames_left() -> None:
    first, second = raised(ValueError()), KeyError()
    third, beside = raised(OSError(), raised(second, first)), raised(TypeError())
    third.__context__ = beside
    release(third)
    assert [each.__traceback__ for each in (first, second, third, beside)] == [None] * 4


def test_errors_that_led_to_each_other_have_none_either_and_come_to_an_end() -> None:
    first, second = raised(ValueError()), raised(KeyError())
    first.__cause__, second.__context__ = second, first
    thread = Thread(target=release, args=(first,), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert first.__traceback__ is None and second.__traceback__ is None
