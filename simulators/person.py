"""The person in a simulated room: what they can be told now, in words, and doing it."""

from collections.abc import Callable

from simulators.scene import of_side
from simulators.world import World
from station.devices import BadSettings

_WORDS = {"L": "lay the left hand", "R": "lay the right hand"}


def moves(world: World) -> tuple[str, ...]:
    """What makes sense now: nobody opens an open door, or lays the hand that lies there."""
    return tuple(_possible(world))


def move(world: World, what: str) -> None:
    """Do it. Raises `BadSettings` naming what can be told."""
    possible = _possible(world)
    if what not in possible:
        raise BadSettings(f"'{what}' cannot be told to the person now; allowed are {', '.join(possible)}")
    possible[what]()


def _possible(world: World) -> dict[str, Callable[[], None]]:
    with world.synced():
        lies, side = world.hand_present, world.scene.side
        closed, released = world.door_closed, world.emergency_stop_released
    hands: dict[str, Callable[[], None]] = {
        words: lambda other=other: world.lay_hand(other)
        for other, words in _WORDS.items()
        if not (lies and other == side) and _there_is(world, other)
    }
    if lies:
        hands["take the hand away"] = world.take_hand_away
    door = "open the door" if closed else "close the door"
    stop = "press the emergency stop" if released else "release the emergency stop"
    return {
        **hands,
        door: lambda: world.set_door(not closed),
        stop: lambda: world.set_emergency_stop(not released),
    }


def _there_is(world: World, side: str) -> bool:
    """A radiograph is of one hand."""
    try:
        of_side(world.scene_settings, side)
    except BadSettings:
        return False
    return True
