"""Days at the terminal, as keys and what is read: what a person does there, and what happens then."""

from concurrent.futures import Future

import pytest

from station.exam import Sex, Side
from station.states import State


async def until_the_image(t):
    await t.open()
    await t.ready()
    await t.expose()


def opened(attended):
    """How many exams were opened."""
    return [entry.name for entry in attended.parts.journal.entries()].count("open_exam")


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=["120x40", "80x24"])
def test_a_normal_exam_takes_six_keys_from_the_order_to_the_accepted_image(play, size):
    async def story(t):
        await t.open()
        await t.ready()
        await t.sees("LEFT HAND", "TEST, Person", "P1", "1961-05-04")
        await t.expose()
        await t.sees("LEFT HAND", "TEST, Person", "P1", "1961-05-04")
        await t.press("a")
        await t.at("Choice")
        await t.press("enter")
        await t.reach(State.STANDBY)
        await t.at("worklist")
        assert t.pressed <= 6
        assert t.exposures == 1
        assert t.attended.snapshot.finished.objects

    play(story, size=size)


def test_the_hands_size_is_chosen_where_the_patient_is_confirmed(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person")
        await t.press("enter")
        await t.at("Confirm")
        await t.sees("hand size ↑↓  medium")
        await t.press("down")
        await t.sees("hand size ↑↓  large")
        await t.press("l")
        await t.reach(State.POSITIONING)
        assert t.attended.snapshot.job.exam.hand_size == "large"

    assert opened(play(story)) == 1


def test_a_station_that_falls_silent_shows_no_state_as_if_it_were_live(play):
    async def story(t):
        await t.open()
        await t.ready()
        t.attended.parts.clock.sleep(5)  # nobody turns the station meanwhile
        t.app._each_second()
        await t.shown()
        assert "NOT LIVE: no news from the station for 5 s, last POSITIONING" in t.text
        t.turn(3)
        t.app._each_second()
        await t.shown()
        assert "NOT LIVE" not in t.text

    play(story, size=(120, 40))


@pytest.mark.hazard("wrong-side")
def test_the_letter_of_the_other_hand_opens_nothing(play):
    async def story(t):
        await t.open(letter="r")
        await t.sees("Nothing was opened")
        t.turn(20)
        assert (t.state, t.place) == (State.STANDBY, "Confirm")
        await t.press("escape")
        await t.at("worklist")
        t.turn(20)
        assert t.state is State.STANDBY

    assert opened(play(story)) == 0


@pytest.mark.hazard("wrong-side")
def test_the_wrong_hand_on_the_panel_blocks_and_the_screen_says_which_one_to_place(play):
    async def story(t):
        await t.open()
        await t.ready()
        await t.asks_the_person(1)
        await t.until(lambda: "→ Place the LEFT hand" in t.text, "the instruction")
        await t.press("space")
        t.turn(100)
        assert (t.state, t.exposures) == (State.POSITIONING, 0)
        await t.asks_the_person(1)
        await t.ready()
        await t.sees("✔ READY")

    play(story)


def test_an_emergency_patient_is_examined_without_an_order(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.press("f8")
        await t.at("Emergency")
        await t.press(*"Test", "enter", "enter", "f", "enter", "enter")
        await t.at("Confirm")
        await t.sees("LEFT HAND", "birth date UNKNOWN")
        await t.press("l")
        await t.ready()
        item = t.attended.snapshot.job.exam.item
        assert (item.patient.name, item.patient.sex, item.side) == ("Test", Sex.FEMALE, Side.LEFT)
        assert item.patient.id.startswith("EMERGENCY-")

    play(story)


def test_an_exposure_that_was_over_before_anybody_could_look_is_shown_all_the_same(play):
    async def story(t):
        await t.open()
        await t.ready()
        await t.press("space")
        await t.reach(State.READY)
        await t.press("space")
        while t.state is not State.READOUT:
            t.turn()  # the screen sees none of it
        await t.sees("☢ X-RAY ON")
        await t.reach(State.REVIEW)
        await t.at("review")

    play(story)


@pytest.mark.hazard("unintended-exposure")
def test_what_was_prepared_is_given_up_without_an_exposure(play):
    async def story(t):
        await t.open()
        for state in (State.PREPARING, State.READY):
            for how in ("escape", "the hand lets go"):
                await t.ready()
                await t.press("space")
                await t.reach(state)
                if how == "escape":
                    await t.press("escape")
                else:
                    t.attended.switch.let_go()
                await t.reach(State.POSITIONING)
                t.turn(50)
                assert (t.state, t.exposures, t.place) == (State.POSITIONING, 0, "exam"), (state, how)

    play(story)


def test_a_rejected_image_has_a_coded_reason_and_is_taken_again(play):
    async def story(t):
        await until_the_image(t)
        await t.press("r")
        await t.at("Choice")
        await t.sees("This was exposure 1", "Positioning")
        await t.press("3")
        await t.ready()
        await t.expose()
        assert t.exposures == 2
        assert len(t.attended.snapshot.exposures) == 2

    entries = list(play(story).parts.journal.entries())
    (rejected,) = [entry for entry in entries if (entry.kind, entry.name) == ("trigger", "reject")]
    assert rejected.detail["reason"] == "111209"


def test_what_is_not_possible_says_why(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.press("f3")
        await t.is_told("no patient is chosen")
        await t.open()
        await t.ready()
        await t.press("n")
        await t.press("space")
        await t.reach(State.READY)
        await t.press("f2")
        await t.is_told("the exposure comes first: ready")
        assert t.place == "exam"

    play(story)


@pytest.mark.hazard("image-lost")
def test_a_station_that_died_in_review_shows_the_image_to_whoever_signs_in_and_exposes_nothing_again(
    play, sign_in
):
    async def story(t):
        await t.reach(State.REVIEW)
        await t.at("SignIn")
        assert "TEST, Person" not in t.text
        await t.press("a", "enter", "enter")
        await t.at("review")
        await t.sees("TEST, Person", "LEFT HAND")
        assert len(t.attended.snapshot.exposures) == 1
        assert t.exposures == 0

    exam = play(until_the_image).snapshot.job.exam
    assert play(story, sign_in=sign_in).snapshot.job.exam == exam


@pytest.mark.hazard("image-lost")
def test_screens_that_are_closed_during_readout_lose_nothing(play):
    async def story(t):
        await t.open()
        await t.ready()
        await t.press("space")
        await t.reach(State.READY)
        await t.press("space")
        await t.reach(State.READOUT)

    attended = play(story)
    assert attended.snapshot.state is State.READOUT
    attended.finish()
    job, (exposure,) = attended.snapshot.job, attended.snapshot.exposures
    assert attended.snapshot.state is State.REVIEW
    assert attended.parts.spool.raw(job.exam, exposure).pixels.any()


def test_without_a_camera_the_operators_list_is_asked_for(play, small_room):
    devices = small_room.devices.model_copy(update={"camera": None})

    async def story(t):
        await t.open()
        await t.reach(State.POSITIONING)
        await t.at("exam")
        t.turn(50)
        assert not t.attended.snapshot.view.readiness.ready
        await t.press("k")
        await t.at("Choice")
        await t.press("2")
        await t.ready()

    play(story, room=small_room.model_copy(update={"devices": devices}))


@pytest.mark.hazard("wrong-patient")
def test_a_station_left_alone_locks_exposes_nothing_and_gives_the_exam_back(play, sign_in):
    async def sign_in_as(t, name):
        await t.at("SignIn")
        await t.press(*name, "enter", "enter")
        await t.seen(lambda: t.app.operator is not None, "somebody signed in")

    async def story(t):
        await sign_in_as(t, "first")
        await t.open()
        await t.ready()
        t.app.idle_s = 0
        await t.at("SignIn")
        t.app.idle_s = 300
        assert "TEST, Person" not in t.text
        t.turn(10)
        await t.press("space")
        t.attended.switch.squeeze()
        t.turn(100)
        assert (t.state, t.exposures) == (State.POSITIONING, 0)
        t.attended.switch.let_go()
        await sign_in_as(t, "second")
        await t.ready()
        await t.sees("TEST, Person")
        assert t.attended.snapshot.signed_in.by == "second"

    play(story, sign_in=sign_in)


class Slow:
    """A pipeline that has not come to its end."""

    def __init__(self):
        self.due = []

    def submit(self, work, *given, **named):
        future = Future()
        self.due.append(lambda: future.set_result(work(*given, **named)))
        return future


def test_the_image_is_seen_before_it_is_measured_and_a_rejected_one_never_again(play, mocker):
    def picture(t):
        found = t.app.screen.query("#image")  # none before the screen is made
        return found.first()._pixels if found else None

    async def story(t):
        slow = Slow()
        await t.open()
        await t.ready()
        mocker.patch.object(t.attended.parts.executor, "submit", slow.submit)
        await t.press("space")
        await t.reach(State.READY)
        await t.press("space")
        await t.reach(State.REVIEW)
        await t.at("review")
        await t.seen(lambda: picture(t) is not None, "the raw image")
        raw = picture(t)
        assert t.attended.snapshot.outcome is None
        await t.press("a")
        await t.is_told("the image is still being measured")
        slow.due.pop()()
        await t.seen(lambda: picture(t) is not None and picture(t) is not raw, "the measured image")
        measured = picture(t)
        await t.press("r")
        await t.at("Choice")
        await t.press("enter")
        await t.ready()
        await t.press("space")
        await t.reach(State.READY)
        await t.press("space")
        await t.reach(State.REVIEW)
        await t.at("review")
        assert not any(picture(t) is former for former in (raw, measured))
        await t.seen(lambda: picture(t) is not None, "the new raw image")
        assert slow.due

    play(story)
