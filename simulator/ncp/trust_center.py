"""The trust centre: who is let in, and how the host is notified (UG100, trustCenterJoinHandler)."""

from __future__ import annotations

from simulator.air import COORDINATOR_NWK, JoinKind
from simulator.ezsp.codes import (
    NULL_INDEX,
    WILDCARD_EUI64,
    ConfigId,
    Counter,
    JoinDecision,
    NodeType,
    PolicyId,
    TrustCenterDecision,
)
from simulator.ncp.memory import TransientKey
from simulator.ncp.stack import Stack

_DECISIONS = {
    JoinKind.SECURED_REJOIN: JoinDecision.NO_ACTION,
    JoinKind.UNSECURED_JOIN: JoinDecision.USE_PRECONFIGURED_KEY,
    JoinKind.LEFT: JoinDecision.NO_ACTION,
    JoinKind.UNSECURED_REJOIN: JoinDecision.USE_PRECONFIGURED_KEY,
}


class TrustCenter:
    """Joining policy, transient keys, and reports of devices that come and go."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        #: index and network address of the coordinator's children as last reported
        self._children: dict[int, int] = {}

    def add_transient_key(self, eui64: int, key: bytes, flags: int) -> bool:
        """Keep a key for a device that is to join (all ones: for any); false when the table is full."""
        self._expire()
        keys = self._stack.memory.transient_keys
        if eui64 not in keys and len(keys) >= self._stack.options.transient_keys:
            return False
        lifetime = self._stack.memory.config[ConfigId.TRANSIENT_KEY_TIMEOUT_S]
        keys[eui64] = TransientKey(key, flags, self._stack.clock() + lifetime)
        return True

    def transient_keys(self) -> dict[int, TransientKey]:
        """The keys that are still good."""
        self._expire()
        return self._stack.memory.transient_keys

    def _expire(self) -> None:
        now = self._stack.clock()
        keys = self._stack.memory.transient_keys
        for eui64 in [eui64 for eui64, key in keys.items() if key.expires_at <= now]:
            del keys[eui64]

    def admits(self, eui64: int) -> bool:
        """Joining open, the policy allows joins, and a key is known: the device's own, or one for any device
        unless the policy asks for install codes."""
        memory = self._stack.memory
        policy = memory.policies[PolicyId.TRUST_CENTER]
        until = memory.joining_until
        if not memory.up or until is None or self._stack.clock() >= until:
            return False
        if not policy & TrustCenterDecision.ALLOW_JOINS:
            return False
        keys = self.transient_keys()
        if eui64 in keys or any(entry.eui64 == eui64 for entry in self._stack.store.key_table.values()):
            return True
        return WILDCARD_EUI64 in keys and not policy & TrustCenterDecision.JOINS_USE_INSTALL_CODE_KEY

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        memory = self._stack.memory
        if not memory.up:
            return
        if kind is JoinKind.LEFT:
            memory.senders.pop(nwk, None)
            index = self._children.pop(eui64, None)
            if index is not None:
                memory.count(Counter.CHILD_REMOVED)
                self._child(index, nwk, eui64, joining=False, sleepy=False)
        else:
            memory.count(Counter.JOIN_INDICATION)
            if parent == COORDINATOR_NWK:
                self._child_joined(eui64)
        self._stack.emit(
            "trustCenterJoinHandler",
            {"id": nwk, "eui64": eui64, "status": kind.value, "decision": _DECISIONS[kind], "parent": parent},
        )

    def _child_joined(self, eui64: int) -> None:
        """Report one of our children; routers that joined through us are neighbours, not children."""
        for index, (nwk, child, sleepy) in enumerate(self._stack.network.children()):
            if child == eui64 and index < NULL_INDEX:
                self._children[eui64] = index
                self._child(index, nwk, eui64, joining=True, sleepy=sleepy)

    def _child(self, index: int, nwk: int, eui64: int, *, joining: bool, sleepy: bool) -> None:
        kind = NodeType.SLEEPY_END_DEVICE if sleepy else NodeType.END_DEVICE
        self._stack.emit(
            "childJoinHandler", {"index": index, "joining": joining, "id": nwk, "eui64": eui64, "type": kind}
        )

    def reset(self) -> None:
        self._children.clear()
