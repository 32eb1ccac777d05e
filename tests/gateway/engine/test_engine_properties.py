"""Whatever the order of events: one final word for each envelope, payloads untouched, nothing left over."""

from __future__ import annotations

from hypothesis import settings

from tests.gateway.engine.engine_machine import (
    EngineMachine,
)

TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
