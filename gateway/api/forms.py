"""How clients reach a device over one carriage: the forms of a Thing Description (W3C WoT TD 1.1, section 5.3.4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.api.things import Value

Form = Mapping[str, Value]
"""A form as TD has it in JSON: an absolute ``href``, ``op`` as a list, and what the carriage's binding adds."""
FormsByName = Mapping[str, tuple[Form, ...]]
"""By the name of an affordance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """Those of one carriage for one device. A client sees of them what the policy lets it do.

    ``name``: that of the carriage's security scheme, ``security`` its definition (section 5.3.3). ``thing``: forms of
    the device as a whole. ``variables``: schemas of what an ``href`` has in braces (``uriVariables``). ``prefixes``:
    what its own terms begin with, as IRIs.
    """

    name: str
    security: Mapping[str, Value]
    properties: FormsByName = field(default_factory=dict)
    actions: FormsByName = field(default_factory=dict)
    events: FormsByName = field(default_factory=dict)
    thing: tuple[Form, ...] = ()
    variables: Mapping[str, Value] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
