"""The commands between station and hospital, as they are typed."""

import json
import shutil

import pytest
import yaml
from hospital_rooms import file_of
from typer.testing import CliRunner

from station.cli import app


class Desk:
    """Types commands in one station's folder, beside one hospital."""

    def __init__(self, folder, peers, room):
        self.folder, self.peers = folder, peers
        self.hospital, self.room = folder / "hospital.yaml", folder / "room.yaml"
        self.room.write_text(yaml.safe_dump(room.model_dump(mode="json", exclude_none=True)))
        self.connect()

    def connect(self):
        """The file as the hospital is now."""
        told = file_of(self.peers).model_dump(mode="json", exclude_none=True)
        self.hospital.write_text(yaml.safe_dump(told))

    def types(self, *words, hospital=True):
        """Exit code, what was printed, and as JSON where it is."""
        named = ["--hospital", str(self.hospital)] if hospital else []
        done = CliRunner().invoke(app, [*words, *named, "--out", str(self.folder), "--json"])
        printed = json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None
        return done.exit_code, done.output, printed

    def exam(self, *words):
        code, said, report = self.types("exam", "--room", str(self.room), "--deliver", "60", *words)
        assert report is not None, said
        return code, report


@pytest.fixture
def desk(tmp_path, small_room, calibration, peers):
    shutil.copytree(calibration, tmp_path / "calibration")
    return Desk(tmp_path, peers, small_room)


def test_the_worklist_is_shown_and_kept_for_when_the_ris_is_down(desk):
    code, _, shown = desk.types("worklist")
    usable = {row["accession_number"]: row["item"] is not None for row in shown["rows"]}
    assert (code, shown["warning"]) == (0, "")
    assert usable == {"A1": True, "A2": True, "A3": True, "A4": True, "A5": True, "A6": False}
    assert len(desk.types("worklist", "--search", "тест")[2]["rows"]) == 1
    desk.peers.spoil("down")
    code, _, shown = desk.types("worklist")
    assert (code, len(shown["rows"])) == (0, 6)
    assert "nobody listens" in shown["warning"]
    (desk.folder / "worklist.json").unlink()
    assert desk.types("worklist")[0] == 5


def test_a_worklist_that_the_ris_cuts_off_is_usable_and_says_so(desk):
    desk.peers.spoil("rows-cut-off", "2")
    code, _, shown = desk.types("worklist")
    assert (code, [row["accession_number"] for row in shown["rows"]]) == (0, ["A1", "A2"])
    assert "orders may be missing" in shown["warning"]
    desk.peers.spoil("down")
    assert "orders may be missing" in desk.types("worklist")[2]["warning"], "kept with the list"


def test_an_order_of_the_worklist_is_examined_and_delivered_in_one_command(desk):
    code, report = desk.exam("--order", "A1")
    assert code == 3, "too coarse a panel to measure"
    assert report["outbox"] == {"pending": 0, "parked": 0, "stored": 0, "committed": 8}
    code, _, shown = desk.types("outbox", "--exam", report["exam"], hospital=False)
    assert code == 0
    assert {job["state"] for job in shown["jobs"]} == {"committed"}
    done = CliRunner().invoke(app, ["lint", *report["objects"]])
    assert (done.exit_code, done.output.count(", good")) == (0, 5)


def test_what_cannot_be_ordered_says_why(desk):
    code, said, _ = desk.types("exam", "--room", str(desk.room), "--order", "A6")
    assert code == 2
    assert "StudyInstanceUID" in said
    code, said, _ = desk.types("exam", "--room", str(desk.room), "--order", "nobody's")
    assert code == 2
    assert "refresh the worklist" in said
    done = CliRunner().invoke(app, ["worklist", "--hospital", "none.yaml", "--out", str(desk.folder)])
    assert done.exit_code == 2


def test_an_emergency_is_joined_to_its_order_from_the_command_line(desk):
    _, report = desk.exam("--emergency", "--name", "Emergency^Case", "--side", "L")
    code, said, _ = desk.types("reconcile", report["exam"], "--order", "A2", "--room", str(desk.room))
    assert code == 2
    assert "right hand" in said
    code, said, joined = desk.types("reconcile", report["exam"], "--order", "A1", "--room", str(desk.room))
    assert code == 0, said
    assert "revision-1" in joined["objects"][0]
    assert joined["outbox"]["pending"] == joined["outbox"]["parked"] == 0


def test_a_release_is_said_once_and_by_whom(desk):
    _, report = desk.exam("--order", "A1")
    release = ("release", report["exam"], "--room", str(desk.room), "--by", "Test^Physician", "--physician")
    code, said, done = desk.types(*release)
    assert code == 0, said
    assert (done["final"], done["released_by"], done["code"]) == (True, "Test^Physician", None)
    code, said, _ = desk.types(*release)
    assert code == 2
    assert "released already" in said
    assert desk.types("release", "2.25.1", "--by", "Test^Person", "--room", str(desk.room))[0] == 2


def test_the_doctor_names_the_hop_that_fails(desk):
    code, _, hops = desk.types("doctor")
    assert code == 0
    assert len(hops) > 20
    desk.peers.spoil("reject", "ris")
    code, said, hops = desk.types("doctor")
    wrong = [hop for hop in hops if hop["ok"] is False]
    assert code == 5, said
    assert {hop["name"] for hop in wrong} == {"worklist: AE titles", "mpps: AE titles"}
    assert all(hop["remedy"] for hop in wrong)


def test_a_damaged_object_is_named_by_the_lint(desk):
    path = desk.folder / "damaged.dcm"
    path.write_bytes(b"DICM")
    done = CliRunner().invoke(app, ["lint", str(path), "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)[0]["problems"]
