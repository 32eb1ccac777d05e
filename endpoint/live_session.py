"""What an application knows of one of its sessions."""

from __future__ import annotations

from endpoint.messages import Messages
from endpoint.runner import Runner
from layer.events import AssociationInfo


class LiveSession:
    """One session and what is sent in it. ``ours``: we opened it."""

    def __init__(self, number: int, runner: Runner, messages: Messages, *, ours: bool) -> None:
        self.number = number
        self.runner = runner
        self.messages = messages
        self.ours = ours
        self.established = False
        self.info: AssociationInfo | None = None
        self.learning: int | None = None
        """The exchange that asks for authorities."""
