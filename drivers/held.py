"""Frames in the station's own memory by exposure UID, for panels that keep none; and which ones were lost."""

from dataclasses import dataclass
from datetime import datetime

from station.devices import CommunicationLost, DeviceRefused
from station.frame import Pixels

_HELD_LIMIT = 4  # frames of 14 to 40 MB each
_LOST_LIMIT = 16  # lost exposures remembered by name


@dataclass(frozen=True, slots=True)
class Held:
    """A frame as it came."""

    pixels: Pixels
    acquired_at: datetime


class HeldFrames:
    """A limited number of frames, each under its exposure's UID until it is discarded."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: dict[str, Held] = {}
        self._lost: dict[str, str] = {}

    @property
    def free(self) -> int:
        """Frames that still fit."""
        return _HELD_LIMIT - len(self._held)

    def refuse_unless_free(self, uid: str) -> None:
        """Raise `DeviceRefused` if there is no room or such a frame already; a lost one may be made anew."""
        if uid in self._held:
            raise DeviceRefused(f"{self._name}: a frame {uid} is held already; recover or discard it")
        if self.free < 1:
            raise DeviceRefused(
                f"{self._name}: {_HELD_LIMIT} frames are held; discard those that are on disk, "
                "or restart the station to drop them all"
            )
        self._lost.pop(uid, None)

    def keep(self, uid: str, frame: Held) -> None:
        """Hold a frame."""
        self._held[uid] = frame

    def lose(self, uid: str, why: str) -> None:
        """Remember that the frame of an exposure will never come."""
        self._lost[uid] = why
        while len(self._lost) > _LOST_LIMIT:
            del self._lost[next(iter(self._lost))]

    def say_if_lost(self, uid: str) -> None:
        """Raise `CommunicationLost` if the frame of that exposure will never come."""
        if uid in self._lost:
            raise CommunicationLost(
                f"{self._name}: the frame of {uid} is lost: {self._lost[uid]}. The panel cannot give it "
                "again: document the exposure as one without image, check the line; it can be armed anew"
            )

    def get(self, uid: str) -> Held:
        """The frame. Raises `CommunicationLost` if it was lost, `DeviceRefused` if there is none."""
        self.say_if_lost(uid)
        if uid not in self._held:
            raise DeviceRefused(
                f"{self._name}: no frame {uid} is held, or it is still being read; "
                f"held are {', '.join(self._held) or 'none'}"
            )
        return self._held[uid]

    def discard(self, uid: str) -> None:
        """Forget a frame, also a lost one. Raises `DeviceRefused` if there is none."""
        if self._lost.pop(uid, None) is None:
            self.get(uid)
            del self._held[uid]
