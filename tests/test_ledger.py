import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import DatabaseError
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.billing import Basis, Charge, proof_json
from station.exam import Release
from station.ledger import Ledger
from station.protocols import load_protocol

CODES = load_protocol().codes
RELEASE = Release("Demo^Operator", datetime(2026, 3, 2, 23, 50, tzinfo=UTC))
CHARGE = Charge(CODES.acquired_for_dxr, (("image accepted", True),), RELEASE, "0750T released")
BASIS = Basis("2.25.10", "ACC-9", "hand-dxr@1", "dxr@1")

CLAIM_AND_DIE = """
import os, sys
from datetime import datetime, UTC
from pathlib import Path
from station.billing import Basis, Charge
from station.exam import Release
from station.ledger import Ledger
from station.protocols import load_protocol
charge = Charge(load_protocol().codes.acquired_for_dxr, (("image accepted", True),),
    Release("Demo^Operator", datetime(2026, 3, 2, 23, 50, tzinfo=UTC)), "0750T released")
assert Ledger(Path(sys.argv[1])).claim(charge, Basis("2.25.10", "ACC-9", "hand-dxr@1", "dxr@1"))
os._exit(9)
"""


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "charges.sqlite")
    yield made
    made.close()


@pytest.mark.hazard("false-billing")
def test_a_second_charge_for_the_same_exam_is_refused(ledger):
    assert ledger.claim(CHARGE, BASIS)
    assert not ledger.claim(CHARGE, replace(BASIS, accession_number="ACC-10"))
    assert not ledger.claim(replace(CHARGE, code=CODES.existing_image), BASIS)


def test_a_second_release_finds_the_charge_there_is_and_changes_nothing_in_it(ledger):
    assert ledger.claim(CHARGE, BASIS)
    later = Release("Test^Physician", RELEASE.at + timedelta(hours=1), physician=True)
    assert ledger.claim(replace(CHARGE, release=later), BASIS)
    assert ledger.proof(BASIS.exam_uid) == proof_json(CHARGE, BASIS)


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize("accession", ["ACC-9", "acc-9", " ACC-9 "])
def test_a_second_charge_for_the_same_order_is_refused(ledger, accession):
    assert ledger.claim(CHARGE, BASIS)
    assert not ledger.claim(CHARGE, replace(BASIS, exam_uid="2.25.11", accession_number=accession))
    assert ledger.already_charged("2.25.11", accession)


def test_exams_without_an_order_do_not_stand_in_each_others_way(ledger):
    assert ledger.claim(CHARGE, replace(BASIS, accession_number=""))
    assert ledger.claim(CHARGE, replace(BASIS, accession_number="", exam_uid="2.25.11"))
    assert not ledger.already_charged("2.25.12", "")


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize("charge", [replace(CHARGE, release=None), replace(CHARGE, code=None)])
def test_what_is_not_due_cannot_be_claimed(ledger, charge):
    with pytest.raises(ValueError, match="only a released charge"):
        ledger.claim(charge, BASIS)
    assert ledger.proof(BASIS.exam_uid) is None


@pytest.mark.hazard("false-billing")
def test_a_claim_survives_the_death_of_the_process_and_the_same_charge_goes_on(tmp_path):
    path = tmp_path / "charges.sqlite"
    done = subprocess.run([sys.executable, "-c", CLAIM_AND_DIE, str(path)], check=False)
    assert done.returncode == 9
    after = Ledger(path)
    assert after.proof(BASIS.exam_uid) == proof_json(CHARGE, BASIS)
    assert after.claim(CHARGE, BASIS)
    assert not after.claim(CHARGE, replace(BASIS, exam_uid="2.25.11"))
    after.close()


def test_the_exam_that_was_charged_is_not_in_its_own_way(ledger):
    ledger.claim(CHARGE, BASIS)
    assert not ledger.already_charged(BASIS.exam_uid, BASIS.accession_number)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM charge",
        "UPDATE charge SET exam = '2.25.99'",
        "DELETE FROM taken_back",
        "UPDATE taken_back SET reason = ''",
    ],
)
def test_nothing_in_the_ledger_can_be_changed_or_removed(ledger, statement):
    ledger.claim(CHARGE, BASIS)
    ledger.take_back(BASIS.exam_uid, "wrong order, nothing sent")
    ledger.claim(CHARGE, BASIS)
    with pytest.raises(DatabaseError, match="append-only"):
        ledger._db.execute(statement)


def test_a_charge_that_never_left_is_taken_back_and_the_right_order_is_charged(ledger):
    right = replace(BASIS, accession_number="ACC-10")
    assert ledger.claim(CHARGE, BASIS)
    assert not ledger.claim(CHARGE, right)
    assert ledger.take_back(BASIS.exam_uid, "joined to its order before anything was sent")
    assert ledger.proof(BASIS.exam_uid) is None
    assert not ledger.already_charged("2.25.11", BASIS.accession_number)
    assert ledger.claim(CHARGE, right)
    assert ledger.proof(BASIS.exam_uid)["accession_number"] == "ACC-10"
    assert not ledger.claim(CHARGE, BASIS)
    (kept,) = ledger._db.execute("SELECT count(*) FROM charge").fetchone()
    assert kept == 2


def test_what_was_never_charged_cannot_be_taken_back(ledger):
    ledger.claim(CHARGE, BASIS)
    assert not ledger.take_back("2.25.11", "no such exam")
    assert ledger.take_back(BASIS.exam_uid, "once")
    assert not ledger.take_back(BASIS.exam_uid, "twice")


@pytest.mark.hazard("false-billing")
def test_of_many_that_claim_one_order_at_once_one_gets_it(tmp_path):
    path = tmp_path / "charges.sqlite"
    ledgers = [Ledger(path) for _ in range(4)]
    start, won = threading.Barrier(len(ledgers)), []

    def claim(number):
        start.wait(10)
        if ledgers[number].claim(CHARGE, replace(BASIS, exam_uid=f"2.25.{100 + number}")):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(len(ledgers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for one in ledgers:
        one.close()
    assert len(won) == 1


claims = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["", "A", "B"]), st.sampled_from([0, 1])),
    max_size=12,
)


@pytest.mark.hazard("false-billing")
@settings(max_examples=40, deadline=None)
@given(claims)
def test_whatever_is_claimed_in_whatever_order_nothing_is_charged_twice(wanted):
    charges = (CHARGE, replace(CHARGE, code=CODES.existing_image))
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "charges.sqlite")
        ledger._db.execute("PRAGMA synchronous=OFF")
        granted = {
            (exam, order, which)
            for exam, order, which in wanted
            if ledger.claim(charges[which], replace(BASIS, exam_uid=exam, accession_number=order))
        }
        ledger.close()
    exams = [exam for exam, _, _ in granted]  # a set: the same charge twice is one
    orders = [order for _, order, _ in granted if order]
    assert len(exams) == len(set(exams))
    assert len(orders) == len(set(orders))
    assert granted or not wanted
