"""Settings of a device or of a simulated world, read strictly: a wrong key or value says what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from station.devices import BadSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """A mapping from a room file, read key by key; None and an absent key mean the default."""

    what: str  # whose settings, for messages
    given: Mapping[str, Any]

    def only(self, *keys: str) -> None:
        """Refuse every other key."""
        unknown = sorted(set(self.given) - set(keys))
        if unknown:
            raise BadSettings(f"{self.what}: unknown {', '.join(unknown)}; allowed are {', '.join(keys)}")

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within [low, high]."""
        value = self.given.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadSettings(f"{self.what}: {key}={value!r} given; allowed is a number {low:g} to {high:g}")
        return float(value)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        value = self.number(key, default, low, high)
        if value != int(value):
            raise BadSettings(
                f"{self.what}: {key}={value:g} given; allowed is a whole number {low} to {high}"
            )
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.given.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadSettings(f"{self.what}: {key}={value!r} given; allowed are true and false")
        return value

    def text(self, key: str, default: str) -> str:
        """A non-empty text."""
        value = self.given.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            raise BadSettings(f"{self.what}: {key}={value!r} given; allowed is a text")
        return value

    def needed(self, key: str) -> str:
        """A non-empty text that must be there."""
        if self.given.get(key) is None:
            raise BadSettings(f"{self.what}: {key} is missing; give it")
        return self.text(key, "")

    def pair(self, key: str, default: tuple[float, float], low: float, high: float) -> tuple[float, float]:
        """Two numbers within [low, high]."""
        value = self.given.get(key)
        if value is None:
            return default
        if not isinstance(value, list | tuple) or len(value) != 2:  # pyright: ignore[reportUnknownArgumentType]
            raise BadSettings(f"{self.what}: {key}={value!r} given; allowed are two numbers")
        first, second = (Settings(self.what, {key: part}).number(key, 0, low, high) for part in value)
        return first, second

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty if absent."""
        value = self.given.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
            raise BadSettings(f"{self.what}: {key}={value!r} given; allowed is a list of texts")
        return tuple(str(part) for part in value)
