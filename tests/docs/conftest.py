"""The pages of docs/ as fixtures, read once; ``tests.harness.docs_page`` reads them."""

from __future__ import annotations

import pytest

from tests.harness.docs_page import CODE, Page, read


@pytest.fixture(scope="session")
def carriage() -> Page:
    return read("carriage.md")


@pytest.fixture(scope="session")
def endpoint_page() -> Page:
    return read("endpoint.md")


@pytest.fixture(scope="session")
def policy_page() -> Page:
    return read("policy.md")


@pytest.fixture(scope="session")
def config_page() -> Page:
    return read("config.md")


@pytest.fixture(scope="session")
def zigbee_page() -> Page:
    return read("zigbee.md")


@pytest.fixture(scope="session")
def architecture() -> Page:
    return read("architecture.md")


@pytest.fixture(scope="session")
def code_words():
    """The words in backticks of a cell."""
    return CODE.findall
