"""Any sequence of ills of two archives, restarts and jumping clocks: counted on both sides, none lost."""

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ILLS = st.one_of(
    st.tuples(st.sampled_from(["pacs", "second"]), st.sampled_from(["down", "full", "killed", "loses"])),
    st.tuples(st.sampled_from(["pacs", "second"]), st.sampled_from(["never", "later", "same", "refuses"])),
    st.tuples(st.just("exam"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.integers(1, 5000)),
    st.tuples(st.just("jump"), st.integers(-100_000, 100_000)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("answers"), st.none()),
)


def suffer(rig, ill, exams):
    what, detail = ill
    if what == "exam":
        exams[f"1.2.{len(exams)}"] = detail
        rig.outbox.put(rig.objects(list(exams)[-1], detail, ("pacs", "second")))
    elif what == "wait":
        rig.clock.sleep(detail)
    elif what == "jump":
        rig.clock.jump += timedelta(seconds=detail)
    elif what == "restart":
        rig.restart()
    elif what == "answers":
        for archive in rig.archives.values():
            while archive.answers:
                rig.courier.heard(*archive.answers.popleft())
    elif detail in {"never", "later", "same", "refuses"}:
        rig.archives[what].mode = detail
    else:
        rig.archives[what].mood.append(detail)


@given(ills=st.lists(ILLS, max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_through_any_sequence_of_ills_nothing_is_lost_renamed_or_in_two_places(make_rig, ills):
    rig, exams = make_rig(), {}
    for ill in ills:
        suffer(rig, ill, exams)
        rig.courier.step()
        assert all(len(places) == 1 for places in rig.on_disk().values())
    for archive in rig.archives.values():
        archive.mood.clear()
        archive.mode = "same"
    rig.until_quiet()
    sent = {f"{exam}.{number}" for exam, count in exams.items() for number in range(1, count + 1)}
    assert rig.on_disk() == {f"{uid}@{name}": ["committed"] for uid in sent for name in rig.archives}
    assert all(archive.kept == set(archive.received) == sent for archive in rig.archives.values())
