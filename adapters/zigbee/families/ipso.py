"""Resource types of properties: objects of OMA's registry (LwM2M, IPSO), as ``rt`` in link format."""

from __future__ import annotations


def ipso(number: int) -> str:
    return f"urn:oma:lwm2m:ext:{number}"
