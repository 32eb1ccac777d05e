"""The version of the program."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """As it was installed; "0" for a source tree that isn't."""
    from importlib import metadata  # brings the modules of e-mail, which a brief command need not wait for

    try:
        return metadata.version("atls-gateway")
    except metadata.PackageNotFoundError:
        return "0"
