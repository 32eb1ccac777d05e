"""The health of the adapter's connections to the broker, reported to the gateway as one: ready, or a fault."""

from __future__ import annotations

from collections.abc import Callable


class Health:
    """The connections by name, each with its trouble: None until it has said something, empty while all is well."""

    def __init__(self, ready: Callable[[], None], fault: Callable[[str], None]) -> None:
        self._ready = ready
        self._fault = fault
        self.troubles: dict[str, str | None] = {}

    def part(self, name: str) -> Callable[[str], None]:
        """How the connection ``name`` reports its trouble; an empty text says that it serves."""
        self.troubles[name] = None

        def tell(trouble: str) -> None:
            self.troubles[name] = trouble
            found = dict.fromkeys(each for each in self.troubles.values() if each)  # both mostly say the same
            if found:
                self._fault("; ".join(found))
            elif None not in self.troubles.values():
                self._ready()

        return tell
