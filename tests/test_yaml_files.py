import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from station.check import check_files
from station.config import RoomFile, build, load_room
from station.protocols import Protocol, Reference, load_protocol, load_reference
from station.registry import UnknownDriver
from station.yaml_file import BadFile, parse, shipped

PROTOCOL = shipped("protocols", "hand-dxr.yaml").read_text(encoding="utf-8")
ROOM = shipped("config", "sim.yaml").read_text(encoding="utf-8")


def problem(text: str, model=Protocol) -> str:
    with pytest.raises(BadFile) as caught:
        parse(text, model, "file.yaml")
    return str(caught.value)


def only_explains(text: str, model) -> bool:
    """Parses, or says where it is wrong; anything else is an exception."""
    try:
        parse(text, model, "f")
    except BadFile as error:
        return str(error).startswith("f:")
    return True


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_misspelt_key_is_named_with_its_line_and_what_is_allowed():
    text = PROTOCOL.replace("sid_mm:", "sid:")
    message = problem(text)
    assert (
        f"file.yaml:{line_of(text, 'sid:')}: geometry.sid: unknown key; allowed here: sid_mm, oid_mm"
        in message
    )
    assert "geometry.sid_mm: is required and missing" in message


def test_a_value_out_of_range_is_named_with_its_line_and_the_range():
    text = PROTOCOL.replace("sid_mm: 1000", "sid_mm: 100")
    assert problem(text) == (
        f"file.yaml:{line_of(text, 'sid_mm: 100')}: geometry.sid_mm: "
        "Input should be greater than or equal to 500, got 100"
    )


def test_every_problem_is_reported_at_once():
    text = PROTOCOL.replace("sid_mm: 1000", "sid_mm: x").replace("still_s: 1\n", "still_s: -1\n")
    assert len(problem(text).splitlines()) == 2


def test_a_key_given_twice_is_an_error_not_the_last_one():
    assert "seed: given twice" in problem(ROOM + "  seed: 2\n", RoomFile)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "allowed keys: name"), ("a: [1", ":1:"), ("- 1\n- 2", "not a mapping"), ("name: 'x", "file.yaml:")],
)
def test_what_is_no_mapping_says_so_with_a_line(text, said):
    assert said in problem(text, RoomFile)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_parse_or_explain(text):
    assert only_explains(text, RoomFile)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
        max_leaves=8,
    )
)
def test_no_yaml_document_does_anything_but_parse_or_explain(document):
    assert only_explains(yaml.safe_dump(document), Protocol)


def test_a_missing_file_says_what_to_give(tmp_path):
    with pytest.raises(BadFile, match="give the path of a YAML file"):
        load_room(str(tmp_path / "none.yaml"))
    with pytest.raises(BadFile, match="known are hand-dxr"):
        load_protocol("hand-dxa")


def test_everything_that_is_shipped_is_good():
    verdicts = check_files(None)
    kinds = {"room", "hospital", "operators", "keys", "protocol", "reference", "risk table"}
    assert {verdict["kind"] for verdict in verdicts} == kinds
    assert [problem for verdict in verdicts for problem in verdict["problems"]] == []


def test_an_unknown_driver_lists_those_that_are_installed(tmp_path):
    path = tmp_path / "room.yaml"
    path.write_text(ROOM.replace("sim-generator", "acme-generator"))
    assert "'acme-generator' is not installed" in check_files([path])[0]["problems"][0]
    with pytest.raises(UnknownDriver, match="sim-generator"):
        build(load_room(str(path)), {}, real_time=False)


def test_a_drivers_settings_are_checked_without_opening_anything(tmp_path):
    path = tmp_path / "room.yaml"
    example = yaml.safe_load(shipped("config", "room-example.yaml").read_text(encoding="utf-8"))
    example["devices"]["generator"]["settings"]["kvp_range"] = [40, 700]
    path.write_text(yaml.safe_dump(example))
    (problem,) = check_files([path])[0]["problems"]
    assert "sedecal-r2cp: kvp_range=700" in problem
    assert "20 to 150" in problem


def test_a_room_that_simulates_nothing_refuses_simulation_options(tmp_path):
    path = tmp_path / "room.yaml"
    path.write_text(ROOM[: ROOM.index("simulation:")])
    with pytest.raises(BadFile, match="phantom cannot be set"):
        build(load_room(str(path)), {"phantom": "t=1.6"}, real_time=False)


def test_a_protocol_without_a_hand_size_is_refused():
    text = "\n".join(line for line in PROTOCOL.splitlines() if not line.strip().startswith("small:"))
    assert "hand size small are missing" in problem(text)


def test_an_unknown_hand_size_lists_the_known_ones():
    with pytest.raises(KeyError, match="choose small, medium, large"):
        load_protocol().technique("giant")


def test_reference_ages_must_ascend():
    reference = load_reference("sectra-consistent-derived")
    shuffled = reference.model_dump() | {"women": [p.model_dump() for p in reversed(reference.women)]}
    assert "ages must ascend" in problem(yaml.safe_dump(shuffled), Reference)


def test_the_derived_reference_is_labelled_derived():
    reference = load_reference("sectra-consistent-derived")
    assert (reference.status, reference.young_adult.status) == ("derived", "derived")
