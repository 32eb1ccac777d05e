"""How the adapter's connections to the broker are, put together as the one word that the gateway hears."""

from __future__ import annotations

from collections.abc import Callable


class Health:
    """The connections by name, each with its trouble: None until it has said something, empty while all is well."""

    def __init__(self, ready: Callable[[], None], fault: Callable[[str], None]) -> None:
        self._ready = ready
        self._fault = fault
        self.troubles: dict[str, str | None] = {}

    def part(self, name: str) -> Callable[[str], None]:
        """How the connection ``name`` tells its trouble; an empty one says that it serves."""
        self.troubles[name] = None

        def tell(trouble: str) -> None:
            self.troubles[name] = trouble
            found = dict.fromkeys(each for each in self.troubles.values() if each)  # both mostly say the same
            if found:
                self._fault("; ".join(found))
            elif None not in self.troubles.values():
                self._ready()

        return tell
