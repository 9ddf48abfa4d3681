import re
import socket
import threading
import time
from contextlib import suppress

import pytest
from certificates import certificates
from hypothesis import given, settings
from hypothesis import strategies as st
from receivers import acknowledgement, asyncio_receiver, hl7apy_receiver, scripted_receiver

from station.hospital import Endpoint, Hospital, Timeouts
from station.messages import hl7, mllp
from station.messages.mllp import MessageRefused, send
from station.network import NetworkError, PeerSilent, TlsFailed, Unreachable


def station(answer_s, network_s=10.0, tls=None):
    """A hospital file that waits so long for an acknowledgement."""
    timeouts = Timeouts(connect_s=5, answer_s=answer_s, network_s=network_s)
    return Hospital(name="test", ae_title="DXR1", tls=tls, timeouts=timeouts)


QUICK, PATIENT = station(0.4), station(10)
MESSAGE = "MSH|^~\\&|DXR1|F|RIS|H|20260303||ORU^R01^ORU_R01|WANTED|P|2.5.1\rPID|1||P-17\r"


@pytest.fixture
def message(study, messages):
    return hl7.results(study, messages, b"%PDF-1.7 " + bytes(range(256)) * 800)


def test_a_result_with_its_page_arrives_whole_at_another_librarys_receiver(message):
    with asyncio_receiver() as (endpoint, got):
        send(PATIENT, endpoint, message)
    assert got == [message]


def test_results_and_charges_arrive_at_a_second_librarys_receiver(study, messages, due):
    sent = [hl7.results(study, messages), hl7.charge(study, due, messages)]
    with hl7apy_receiver() as (endpoint, got):
        for one in sent:
            send(PATIENT, endpoint, one)
    assert got == sent


def test_over_mutual_tls_a_message_arrives_and_strangers_are_told_apart_by_name(tmp_path):
    server, client, other = certificates(tmp_path)
    stranger = other.model_copy(update={"authorities": client.authorities})
    with asyncio_receiver(server) as (endpoint, got):
        send(station(10, tls=client), endpoint, MESSAGE)
        with pytest.raises((TlsFailed, PeerSilent)) as caught:  # it hangs up on a stranger
            send(station(0.4, tls=stranger), endpoint, MESSAGE)
        assert "TLS" in str(caught.value)
        with pytest.raises(TlsFailed, match="certificate"):
            send(station(0.4, tls=other), endpoint, MESSAGE)
        with pytest.raises(PeerSilent):  # plain words to a receiver that wants TLS
            send(QUICK, endpoint.model_copy(update={"plain": True}), MESSAGE)
    assert len(got) == 1


def test_nobody_there_is_said_by_name():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}") as caught:
        send(QUICK, Endpoint(host="127.0.0.1", port=port, plain=True), MESSAGE)
    assert caught.value.again
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("code", "error", "again"),
    [
        ("AE", "", True),
        ("CE", "", True),
        ("AR", "", False),
        ("CR", "", False),
        ("AE", "ERR||PID^1^5|101^Required field missing^HL70357|E\r", False),
        ("AR", "ERR|||207^Application internal error^HL70357|E||||the database is away\r", True),
        ("AR", "ERR|||206|E\r", True),
        ("AE", "ERR|||207|E\r", True),
        ("AE", "ERR|||205^Duplicate key identifier|E\r", False),
        ("AE", "ERR|||nonsense|E\r", True),
    ],
)
def test_an_error_is_told_with_its_reason_and_whether_to_send_again(code, error, again):
    def answer(connection, got):
        connection.sendall(acknowledgement(got.decode(), code, error))

    with scripted_receiver(answer) as endpoint, pytest.raises(MessageRefused) as caught:
        send(PATIENT, endpoint, MESSAGE)
    assert caught.value.code == code
    assert caught.value.again is again
    assert "WANTED" in caught.value.message
    if "database" in error:
        assert "the database is away" in caught.value.message
        assert caught.value.status == 207


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_both_kinds_of_acceptance_are_a_delivery(code):
    def answer(connection, got):
        connection.sendall(acknowledgement(got.decode(), code))

    with scripted_receiver(answer) as endpoint:
        send(PATIENT, endpoint, MESSAGE)


def test_an_acknowledgement_of_another_message_is_not_taken_for_ours():
    def answer(connection, _):
        connection.sendall(acknowledgement(MESSAGE.replace("WANTED", "OTHER")))
        connection.sendall(acknowledgement(MESSAGE.replace("WANTED", "OTHER"), "AR"))

    with scripted_receiver(answer) as endpoint, pytest.raises(PeerSilent, match="WANTED"):
        send(QUICK, endpoint, MESSAGE)


def test_a_late_acknowledgement_of_another_message_does_not_hide_ours():
    def answer(connection, got):
        connection.sendall(acknowledgement(MESSAGE.replace("WANTED", "OTHER"), "AE"))
        connection.sendall(acknowledgement(got.decode()))

    with scripted_receiver(answer) as endpoint:
        send(PATIENT, endpoint, MESSAGE)


def hang_up(connection, _):
    connection.shutdown(socket.SHUT_RDWR)


def say_nothing(connection, _):
    with suppress(OSError):
        connection.recv(1)  # until the other side hangs up


def talk_for_ever(connection, _):
    with suppress(OSError):
        while True:
            connection.sendall(b"\x0bnothing of interest\x1c\r" * 1000)


def drip(connection, _):
    with suppress(OSError):
        while True:
            connection.sendall(b"\x0b")
            connection.settimeout(0.05)
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return


def half_an_answer(connection, got):
    connection.sendall(acknowledgement(got.decode())[:-9])


@pytest.mark.parametrize("ill", [hang_up, say_nothing, talk_for_ever, drip, half_an_answer])
def test_a_receiver_that_never_acknowledges_is_silence_within_the_limit_and_to_be_tried_again(ill):
    with scripted_receiver(ill) as endpoint, pytest.raises(PeerSilent) as caught:
        send(QUICK, endpoint, MESSAGE)
    assert caught.value.again


def test_a_receiver_that_does_not_read_is_given_up_within_the_limit(message):
    over = threading.Event()
    big = message.replace("JVBER", "A" * 30_000_000 + "JVBER", 1)
    with scripted_receiver(lambda *_: over.wait(10), reads=False) as endpoint:
        started = time.monotonic()
        with pytest.raises(PeerSilent):
            send(station(0.3, network_s=0.3), endpoint, big)
        over.set()
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "PID|1\r",
        MESSAGE.replace("WANTED", ""),
        MESSAGE + "\x1c",
        MESSAGE + "\x0b",
        MESSAGE.replace("\r", "\n"),
    ],
)
def test_what_is_no_message_is_refused_before_anybody_is_called(wrong):
    with pytest.raises(ValueError, match="message"):
        send(QUICK, Endpoint(host="127.0.0.1", port=1, plain=True), wrong)


class Pipe:
    """A connection that has these pieces to give, then hangs up."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def settimeout(self, _):
        pass

    def recv(self, limit):
        while self.pieces:
            piece = self.pieces.pop(0)
            if piece:
                self.pieces[:0] = [piece[limit:]]
                return piece[:limit]
        return b""


def outcome(pieces):
    try:
        return any(mllp._accepted(frame, "WANTED", "peer") for frame in mllp._answers(Pipe(pieces), 30))
    except NetworkError as error:
        return error.again
    except OSError:
        return "too much"


noise = st.binary(max_size=60) | st.sampled_from(
    [
        b"\x0b",
        b"\x1c",
        b"\r",
        b"\x0b\x1c\r",
        b"\x0bMSH|^~\\&|\x1c",
        b"\x0bMSH|\r\rMSA\x1c\r",
        b"\x0bMSH\rMSA|AA|WANTED\x1c",
    ]
)


@settings(deadline=None)
@given(st.lists(noise, max_size=8), st.lists(st.integers(1, 400), max_size=8), st.booleans())
def test_an_acknowledgement_is_found_among_any_noise_in_any_pieces(before, cuts, ended):
    content = b"".join(before) + (b"\x1c" if ended else b"") + acknowledgement(MESSAGE)
    pieces = [content[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(content)], strict=True)]
    assert outcome(pieces) is True


@settings(deadline=None)
@given(st.lists(noise, max_size=8))
def test_noise_alone_is_never_a_delivery_and_never_a_crash(pieces):
    delivered = outcome(pieces)
    assert delivered is False or b"MSA|AA|WANTED" in b"".join(pieces)


lines = st.text(st.sampled_from("MSHAERVT|^~\\&\r\n AW|1é207"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(lines, lines)
def test_whatever_stands_in_an_answer_reading_it_never_crashes(head, tail):
    for text in (
        head + tail,
        f"MSH|^~\\&|{head}\rMSA|{tail}",
        f"MSH{head}\rMSA|AE|WANTED|{tail}\rERR|{tail}",
    ):
        mllp._acknowledgement(text.encode())
        mllp._acknowledgement(text.encode("utf-16"))


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n", ""])
def test_line_ends_of_other_systems_are_forgiven(ending):
    text = re.sub("\r", ending or "\r", "MSH|^~\\&|A\rMSA|AA|WANTED").encode()
    assert outcome([b"\x0b" + text + ending.encode() + b"\x1c"]) is True


def test_an_answer_without_end_is_bounded():
    assert outcome([b"\x0b" + b"x" * 3_000_000, acknowledgement(MESSAGE)]) == "too much"
