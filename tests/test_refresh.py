"""The list that is shown: refreshed in time and on demand, kept while the RIS is down."""

import queue
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from station.network import Unreachable
from station.orders import Answer, Cache
from station.refresh import Refresh, Shown
from station.result import Reason

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LONG_S = 3600
REAL_S = 20


def answer(took_s: float) -> Answer:
    return Answer((), NOW, took_s)


@pytest.fixture
def run(tmp_path):
    """Starts a refresh with scripted answers; gives it and what it showed when it was not asking."""
    started = []

    def make(script, every_s: float = LONG_S, path=tmp_path / "worklist.json"):
        answers, seen = iter(script), queue.Queue()

        def ask() -> Answer:
            said = next(answers, script[-1])
            if isinstance(said, Exception):
                raise said
            return said

        def note(shown: Shown) -> None:
            if not shown.asking:
                seen.put(shown)

        refresh = Refresh(ask, Cache(path), every_s, note)
        started.append(refresh)
        refresh.start()
        return refresh, lambda: seen.get(timeout=REAL_S)

    yield make
    for refresh in started:
        refresh.stop()
        assert not refresh._thread.is_alive()


def test_it_asks_at_the_start_and_again_when_told(run):
    refresh, next_shown = run([answer(1), answer(2)])
    assert next_shown().answer == answer(1)
    refresh.now()
    assert next_shown().answer == answer(2)
    assert refresh.shown() == Shown(answer(2))


def test_a_list_that_may_lack_orders_says_so_also_after_a_restart(run, tmp_path):
    cut = replace(answer(1), warning=Reason("worklist-incomplete", "orders may be missing", "ask for fewer"))
    _, next_shown = run([cut])
    assert next_shown() == Shown(cut, cut.warning)
    assert Refresh(lambda: cut, Cache(tmp_path / "worklist.json"), LONG_S).shown() == Shown(cut, cut.warning)


def test_it_asks_again_in_time(run):
    _, next_shown = run([answer(1), answer(2)], every_s=0.01)
    assert [next_shown().answer for _ in range(2)] == [answer(1), answer(2)]


def test_while_the_ris_is_down_the_last_list_stays_with_the_reason_and_goes_when_it_is_back(run):
    refresh, next_shown = run([answer(1), Unreachable("nobody listens", "start it"), answer(3)])
    next_shown()
    refresh.now()
    down = next_shown()
    assert (down.answer, down.trouble.id) == (answer(1), "worklist-unreachable")
    refresh.now()
    assert next_shown() == Shown(answer(3))


def test_after_a_restart_the_kept_list_is_there_before_anybody_answers(run, tmp_path):
    Cache(tmp_path / "worklist.json").write(answer(7))
    refresh, next_shown = run([Unreachable("nobody listens", "start it")])
    assert refresh.shown().answer == answer(7)
    assert next_shown().answer == answer(7)


def test_a_query_that_breaks_does_not_end_the_refreshing(run):
    refresh, next_shown = run([RuntimeError("bug"), answer(2)])
    assert next_shown().trouble.id == "worklist-failed"
    refresh.now()
    assert next_shown() == Shown(answer(2))


def test_a_full_disk_does_not_cost_the_list(run, tmp_path):
    (tmp_path / "file").touch()
    _, next_shown = run([answer(1)], path=tmp_path / "file" / "worklist.json")
    shown = next_shown()
    assert (shown.answer, shown.trouble.id) == (answer(1), "worklist-not-kept")


def test_what_is_shown_never_waits_for_the_network(tmp_path):
    asked, go = threading.Event(), threading.Event()

    def ask() -> Answer:
        asked.set()
        assert go.wait(REAL_S)
        return answer(1)

    refresh = Refresh(ask, Cache(tmp_path / "worklist.json"), LONG_S)
    refresh.start()
    try:
        assert asked.wait(REAL_S)
        assert refresh.shown() == Shown(asking=True)
    finally:
        go.set()
        refresh.stop()
