"""How clients and services are known to the engine: the adapter's scheme, and how their claims begin."""

from __future__ import annotations

from typing import Final

SCHEME: Final = "http"

OF_TOKENS: Final = "bearer:"
OF_CERTIFICATES: Final = "spki:"
OF_SERVICES: Final = "url:"
