"""The worklist as it is shown: asked for in time and on demand, kept while the RIS is down.

Nobody waits for the network: `shown` gives what there is at once. An answer that fails leaves the last one,
with why and since when.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from station.network import NetworkError
from station.orders import Answer, Cache
from station.result import Reason

_END_S = 120.0  # no query takes longer: connecting, answering and ending have their own limits


@dataclass(frozen=True, slots=True)
class Shown:
    """What the operator sees."""

    answer: Answer | None = None  # the newest there is, from the RIS or kept from before
    trouble: Reason | None = None  # why it is not newer, or not whole
    asking: bool = False


class Refresh:
    """Asks every `every_s` seconds, and at once when told to, in a thread of its own.

    `ask` is the query; `changed` is called from that thread after every change.
    """

    def __init__(
        self,
        ask: Callable[[], Answer],
        cache: Cache,
        every_s: float,
        changed: Callable[[Shown], None] = lambda _: None,
    ) -> None:
        self._ask = ask
        self._cache = cache
        self._every_s = every_s
        self._changed = changed
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="worklist", daemon=True)
        answer, damage = cache.read()
        self._shown = Shown(answer, damage or (answer.warning if answer else None))

    def shown(self) -> Shown:
        """What there is now."""
        return self._shown

    def start(self) -> None:
        """Ask for the first time, and from then on."""
        self._thread.start()

    def now(self) -> None:
        """Ask at once; while a query runs, once more after it."""
        self._wake.set()

    def stop(self) -> None:
        """End; a query that runs is waited for."""
        self._over = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._over:
            self._wake.clear()
            self._show(replace(self._shown, asking=True))
            try:
                self._show(self._asked())
            except Exception as error:  # noqa: BLE001  the thread's top: the list must stay, with why
                why = f"the worklist cannot be read: {type(error).__name__}: {error}"
                trouble = Reason("worklist-failed", why, "report this; the list shown is the last one")
                self._show(replace(self._shown, trouble=trouble, asking=False))
            self._wake.wait(self._every_s)

    def _asked(self) -> Shown:
        try:
            answer = self._ask()
        except NetworkError as error:
            trouble = Reason("worklist-unreachable", error.message, error.remedy)
            return replace(self._shown, trouble=trouble, asking=False)
        try:
            self._cache.write(answer)
        except OSError as error:
            remedy = "free space; without it the list is gone after a restart"
            return Shown(answer, Reason("worklist-not-kept", f"the worklist is not kept: {error}", remedy))
        return Shown(answer, answer.warning)

    def _show(self, shown: Shown) -> None:
        self._shown = shown
        self._changed(shown)
