"""Fixtures of an engine; the parts are in ``tests.harness.engine_stage``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.engine.policy import Rule
from tests.harness.engine_stage import (
    Stage,
    deny,
    permit,
)


@pytest.fixture
def stage() -> Callable[..., Stage]:
    return Stage


@pytest.fixture
def a_permit() -> Callable[..., Rule]:
    return permit


@pytest.fixture
def a_deny() -> Callable[..., Rule]:
    return deny
