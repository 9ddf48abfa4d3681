"""When a job goes on, as a person may be told."""

from station.outbox.job import State


def test_when_a_job_goes_on_is_known_while_something_keeps_it(rig):
    archive = rig.archives["pacs"]
    archive.mood.append("down")
    archive.mode = "never"
    rig.outbox.put(rig.objects(count=1))
    (job,) = rig.outbox.jobs()
    assert rig.courier.goes_in_s(job) is None, "nothing keeps it"
    again_s = rig.courier.step()
    (job,) = rig.outbox.jobs()
    assert rig.courier.goes_in_s(job) == again_s
    rig.clock.sleep(again_s + 1)
    assert rig.courier.goes_in_s(job) == 0
    rig.courier.step()
    (job,) = rig.outbox.jobs()
    assert job.state is State.STORED
    assert rig.courier.goes_in_s(job) == rig.hospital.archives["pacs"].commitment_after_s
    archive.mode = "same"
    rig.until_quiet()
    (job,) = rig.outbox.jobs()
    assert job.state is State.COMMITTED
    assert rig.courier.goes_in_s(job) is None
