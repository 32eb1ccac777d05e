"""The keys of an administrator's request, each read as what it has to be."""

from __future__ import annotations

from layer.errors import PeerError


class Arguments:
    """The keys of a request, taken one by one; those left over are an error."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        value = self._values.pop(key, None)
        if not isinstance(value, str):
            raise PeerError(f"{key} is text and needed")
        return value

    def number(self, key: str) -> float | None:
        value = self._values.pop(key, None)
        if value is None:
            return None
        if type(value) not in (int, float):
            raise PeerError(f"{key} is a number")
        return value  # type: ignore[return-value]

    def whole(self, key: str, least: int, most: int) -> int | None:
        value = self._values.pop(key, None)
        if value is None:
            return None
        if type(value) is not int or not least <= value <= most:
            raise PeerError(f"{key} is a whole number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.pop(key, default)
        if not isinstance(value, bool):
            raise PeerError(f"{key} is true or false")
        return value

    def has(self, key: str) -> bool:
        return key in self._values

    def rest(self) -> dict[str, object]:
        rest, self._values = self._values, {}
        return rest

    def end(self) -> None:
        if self._values:
            raise PeerError(f"unknown: {', '.join(sorted(self._values))[:100]}")
