"""All that crosses the seams between adapters and the engine, by one name: the union ``Envelope`` and its neighbours.

Only values live here: no behaviour, no I/O, no clock. Times are monotonic seconds. What each is about has its own file.
"""

from __future__ import annotations

from gateway.api.exchanges import Answer, Exchange
from gateway.api.forms import Form, Forms
from gateway.api.identity import (
    ANY_LINK,
    Address,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Peer,
    Reason,
    Sealed,
    SessionId,
)
from gateway.api.interactions import (
    Interaction,
    InvokeAction,
    ReadProperties,
    Subscribe,
    Unsubscribe,
    WriteProperties,
)
from gateway.api.receipts import (
    MAX_RESULT,
    Accepted,
    Outcome,
    PropertyResult,
    Receipt,
    Refused,
    Transmit,
    Verdict,
)
from gateway.api.sessions import (
    Close,
    Open,
    Reset,
    SessionView,
    SurvivingEnd,
    Unit,
)
from gateway.api.things import (
    ActionAffordance,
    Change,
    DataSchema,
    DataType,
    DeviceView,
    Event,
    EventAffordance,
    GatewayView,
    Join,
    Leave,
    Presence,
    PropertyAffordance,
    Reading,
    Sample,
    Scalar,
    Update,
    Value,
)

Envelope = (
    Open
    | Unit
    | Close
    | Reset
    | Join
    | Leave
    | Presence
    | Reading
    | Event
    | Interaction
    | Subscribe
    | Unsubscribe
    | Exchange
)

__all__ = [
    "ANY_LINK",
    "MAX_RESULT",
    "Accepted",
    "ActionAffordance",
    "Address",
    "Answer",
    "Change",
    "Close",
    "ContentKind",
    "DataSchema",
    "DataType",
    "DeviceView",
    "Envelope",
    "EnvelopeId",
    "Event",
    "EventAffordance",
    "Exchange",
    "Form",
    "Forms",
    "GatewayView",
    "Interaction",
    "InvokeAction",
    "Join",
    "Leave",
    "LinkRequirement",
    "LinkSecurity",
    "Open",
    "Outcome",
    "Peer",
    "Presence",
    "PropertyAffordance",
    "PropertyResult",
    "ReadProperties",
    "Reading",
    "Reason",
    "Receipt",
    "Refused",
    "Reset",
    "Sample",
    "Scalar",
    "Sealed",
    "SessionId",
    "SessionView",
    "Subscribe",
    "SurvivingEnd",
    "Transmit",
    "Unit",
    "Unsubscribe",
    "Update",
    "Value",
    "Verdict",
    "WriteProperties",
]
