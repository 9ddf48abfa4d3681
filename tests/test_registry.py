"""What is known of a driver: found by entry point, read from its docstring."""

import json
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from station.cli import app
from station.registry import (
    DRIVER_GROUP,
    UnknownDriver,
    describe,
    find_driver,
    inferred_facts,
    installed_drivers,
)

ACME = '''"""Acme D9: dose meter over RS-232.

The conversation
----------------
- a bullet that is no inferred fact

Inferred
--------
- it answers within 50 ms, but whether
  it always does is not said (MEMORY)
- the sum is not verified (INFERRED)

Settings
--------
- url
"""

class D9:
    pass
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Three drivers: one that is well, one whose package is missing, one whose class is."""
    (tmp_path / "acme_d9.py").write_text(ACME, encoding="utf-8")
    (tmp_path / "acme_lame.py").write_text("import acme_sdk_that_is_not_there\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    values = {"acme-d9": "acme_d9:D9", "acme-lame": "acme_lame:Lame", "acme-typo": "acme_d9:D8"}
    points = {name: EntryPoint(name, value, DRIVER_GROUP) for name, value in values.items()}
    monkeypatch.setattr("station.registry.installed_drivers", lambda: points)
    return points


def said(*arguments):
    done = CliRunner().invoke(app, ["drivers", *arguments])
    return done.exit_code, done.output


def test_a_driver_says_in_its_docstring_what_it_is_and_what_is_inferred(installed):
    facts = describe(installed["acme-d9"])
    assert (facts.name, facts.entry_point) == ("acme-d9", "acme_d9:D9")
    assert facts.summary == "Acme D9: dose meter over RS-232."
    assert facts.inferred == (
        "it answers within 50 ms, but whether it always does is not said (MEMORY)",
        "the sum is not verified (INFERRED)",
    )


@pytest.mark.parametrize(
    "docstring",
    ["", "One line.", "One.\n\nInferred\n\n- no heading", "One.\n\nInferred\n--------\n- nothing"],
)
def test_nothing_is_inferred_where_nothing_is_said(docstring):
    assert inferred_facts(docstring) == ()


def test_a_driver_that_cannot_be_imported_is_listed_with_the_reason(installed):
    assert "ModuleNotFoundError: No module named 'acme_sdk" in describe(installed["acme-lame"]).trouble
    assert "AttributeError" in describe(installed["acme-typo"]).trouble
    code, text = said()
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["acme-d9"].split(maxsplit=2)[1:] == ["2", "Acme D9: dose meter over RS-232."]
    assert "cannot be used: ModuleNotFoundError" in lines["acme-lame"]


@pytest.mark.usefixtures("installed")
def test_one_driver_is_shown_whole():
    code, text = said("acme-d9")
    assert code == 0
    assert "acme_d9:D9" in text
    assert "- the sum is not verified (INFERRED)" in text
    assert "ModuleNotFoundError" in said("acme-lame")[1]


def test_json_has_everything_of_every_driver(installed):
    rows = json.loads(said("--json")[1])
    assert [row["name"] for row in rows] == list(installed)
    assert [len(row["inferred"]) for row in rows] == [2, 0, 0]
    assert rows[0]["conversation"].startswith("Acme D9")
    assert rows[1]["trouble"]
    assert json.loads(said("acme-d9", "--json")[1]) == rows[:1]


@pytest.mark.usefixtures("installed")
def test_an_unknown_driver_is_refused_with_the_names_there_are():
    with pytest.raises(UnknownDriver, match="'acme-d7' is not installed; installed are: acme-d9"):
        find_driver("acme-d7")
    assert said("acme-d7")[0] == 2


def test_every_installed_driver_says_what_it_is():
    for point in installed_drivers().values():
        facts = describe(point)
        assert facts.trouble == ""
        assert facts.summary.endswith(".")
