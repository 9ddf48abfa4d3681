"""Keys as data: `config/keys.yaml` says which key does what, checked for clashes when it is read."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import model_validator

from station.actions import ACTIONS, actions
from station.yaml_file import Strict, read, shipped

_PLACES = tuple(dict.fromkeys(action.place for action in ACTIONS))
_SHOWN = {
    "escape": "Esc",
    "plus": "+",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "PgDn",
    "pageup": "PgUp",
}


class Keys(Strict):
    """Action → key, screen by screen."""

    everywhere: dict[str, str]
    worklist: dict[str, str]
    exam: dict[str, str]
    review: dict[str, str]
    outbox: dict[str, str]
    service: dict[str, str]
    recorder: dict[str, str]

    @model_validator(mode="after")
    def _complete_and_without_clashes(self) -> "Keys":
        problems = [problem for place in _PLACES for problem in self._problems(place)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def of(self, place: str) -> dict[str, str]:
        """Action → key of one screen."""
        found: dict[str, str] = getattr(self, place)
        return found

    def _problems(self, place: str) -> Iterator[str]:
        known, given = {action.name for action in actions(place)}, self.of(place)
        if unknown := sorted(given.keys() - known):
            yield f"{place}: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        if missing := sorted(known - given.keys()):
            yield f"{place}: no key for {', '.join(missing)}"
        taken = {key: f"everywhere.{name}" for name, key in self.everywhere.items()}
        if place == "everywhere":
            taken = {}
        for name, key in given.items():
            if key in taken:
                yield f"{place}.{name}: key '{key}' does {taken[key]} already"
            taken[key] = f"{place}.{name}"


def load_keys(path: Path | None = None) -> Keys:
    """The shipped keys, or a site's own. Raises `BadFile`."""
    return read(path or shipped("config", "keys.yaml"), Keys)


def key_map(keys: Keys) -> dict[str, str]:
    """Binding id → key, for Textual's keymap."""
    return {f"{place}.{name}": key for place in _PLACES for name, key in keys.of(place).items()}


def shown(key: str) -> str:
    """The key as it is written on the screen."""
    if key in _SHOWN:
        return _SHOWN[key]
    if key.startswith("ctrl+"):
        return f"^{key[5:].upper()}"
    return key.upper() if len(key) > 1 and key[0] == "f" and key[1:].isdigit() else key
