"""Each way in which a peer can fail has its own name, and says what to do; TLS against dcmtk."""

import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pynetdicom.association
import pytest
from certificates import certificates, signed
from peers import HERE, START_S, free_port, process, scripted, serving
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind, Verification

from station.dicom.association import (
    AssociationRefused,
    NotSupported,
    PeerRefused,
    associated,
    found,
    server_context,
)
from station.hospital import Hospital, Peer, Timeouts, Tls
from station.network import PeerSilent, TlsFailed, Unreachable, probe

WAITS = Timeouts(connect_s=5, answer_s=5, network_s=10)
SHORT = Timeouts(connect_s=0.5, answer_s=0.5, network_s=5)
FIND = ModalityWorklistInformationFind


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("trust"))


def hospital(tls: Tls | None = None, timeouts: Timeouts = WAITS) -> Hospital:
    return Hospital(name="Test", ae_title="DXR1", timeouts=timeouts, tls=tls)


def peer(port: int, *, plain: bool = True, host: str = HERE, title: str = "PEER") -> Peer:
    return Peer(host=host, port=port, plain=plain, ae_title=title)


@contextmanager
def store(folder: Path, tls: Tls | None = None, *options: str):
    port = free_port()
    secured = []
    if tls:
        secured = ["+tls", str(tls.key), str(tls.certificate), "+cf", str(tls.authorities)]
    with process(folder, port, "storescp", *secured, *options, str(port)):
        yield port


def echo(site: Hospital, other: Peer) -> int:
    with associated(site, other, [Verification]) as association:
        return association.send_c_echo().Status


def test_talks_to_a_plain_peer_where_the_file_says_so(tmp_path):
    with store(tmp_path) as port:
        assert echo(hospital(), peer(port)) == 0


def test_talks_mutual_tls_with_dcmtk(tmp_path, trust):
    server, client, _ = trust
    with store(tmp_path, server) as port:
        assert echo(hospital(client), peer(port, plain=False)) == 0
        probe(hospital(client), peer(port, plain=False))


def test_a_client_without_certificate_is_sent_away_by_our_listener(trust):
    server, client, _ = trust
    entity = AE("DXR1")
    entity.add_supported_context(Verification)
    with serving(entity, tls=server_context(server)) as port:
        known = ["+tls", str(client.key), str(client.certificate), "+cf", str(client.authorities)]
        assert subprocess.run(["echoscu", *known, HERE, str(port)], check=False).returncode == 0
        anonymous = ["+tla", "+cf", str(client.authorities)]
        done = subprocess.run(
            ["echoscu", *anonymous, "-to", "5", HERE, str(port)], check=False, capture_output=True
        )
        assert done.returncode != 0


def test_a_stations_certificate_that_the_peer_does_not_know_names_the_authority(tmp_path, trust):
    server, _, other = trust
    mixed = other.model_copy(update={"authorities": server.authorities})
    with store(tmp_path, server) as port, pytest.raises(TlsFailed, match="let the peer trust the authority"):
        echo(hospital(mixed), peer(port, plain=False))


def test_a_peer_of_another_authority_is_not_talked_to(tmp_path, trust):
    _, client, other = trust
    with store(tmp_path, other) as port, pytest.raises(TlsFailed, match=r"tls\.authorities"):
        echo(hospital(client), peer(port, plain=False))


def test_an_expired_peer_is_to_be_renewed(tmp_path, trust):
    ours = trust[0].authorities.parent
    expired = signed(ours, "late", days=-1)
    with store(tmp_path, expired) as port, pytest.raises(TlsFailed, match="renew the peer's certificate"):
        echo(hospital(trust[1]), peer(port, plain=False))


def test_an_expired_station_is_to_be_renewed(tmp_path, trust):
    expired = signed(trust[0].authorities.parent, "old", days=-1)
    with store(tmp_path, trust[0]) as port, pytest.raises(TlsFailed, match="renew the station's certificate"):
        echo(hospital(expired), peer(port, plain=False))


def test_a_certificate_for_another_host_is_refused(tmp_path, trust):
    elsewhere = signed(trust[0].authorities.parent, "elsewhere", hosts="DNS:pacs.example.org")
    with store(tmp_path, elsewhere) as port, pytest.raises(TlsFailed, match="host name that is in the peer"):
        echo(hospital(trust[1]), peer(port, plain=False))


def test_tls_to_a_peer_without_it_says_plain(tmp_path, trust):
    with store(tmp_path) as port, pytest.raises(TlsFailed, match="plain: true"):
        echo(hospital(trust[1]), peer(port, plain=False))


def test_plain_to_a_peer_with_tls_says_so(tmp_path, trust):
    with store(tmp_path, trust[0]) as port, pytest.raises(TlsFailed, match="remove plain"):
        echo(hospital(), peer(port))


def test_a_key_of_another_certificate_is_named_before_anybody_is_asked(trust):
    server, client, _ = trust
    wrong = client.model_copy(update={"key": server.key})
    with pytest.raises(TlsFailed, match="key"):
        echo(hospital(wrong), peer(1, plain=False))


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_at_the_terminal(tmp_path, trust):
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", trust[1].key, "-out", locked, "-aes128", "-passout", "pass:x123"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(TlsFailed, match="passphrase"):
        echo(hospital(trust[1].model_copy(update={"key": locked})), peer(1, plain=False))


def test_a_dead_port_says_that_nobody_listens():
    with pytest.raises(Unreachable, match="nobody listens"):
        echo(hospital(), peer(free_port()))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_a_host_without_address_is_named(host):
    with pytest.raises(Unreachable, match=host.replace(".", r"\.")):
        echo(hospital(), peer(104, host=host))


@pytest.mark.parametrize("secured", [False, True])
def test_a_peer_that_says_nothing_is_given_up_in_time(trust, secured):
    began = time.monotonic()

    def say_nothing(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with scripted(say_nothing) as port, pytest.raises(PeerSilent):
        echo(hospital(trust[1] if secured else None, SHORT), peer(port, plain=not secured))
    assert time.monotonic() - began < 20


def test_a_peer_that_hangs_up_is_no_missing_sop_class():
    def hang_up(connection: socket.socket) -> None:
        connection.recv(10)

    with scripted(hang_up) as port, pytest.raises(PeerSilent, match="hangs up"):
        echo(hospital(), peer(port))


def test_a_rejecting_peer_names_both_titles(tmp_path):
    with store(tmp_path, None, "--refuse") as port, pytest.raises(AssociationRefused, match="DXR1"):
        echo(hospital(), peer(port))


def test_an_unknown_called_title_is_rejected_by_name():
    entity = AE("STORE")
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    with serving(entity) as port, pytest.raises(AssociationRefused, match="Called AE title not recognised"):
        echo(hospital(), peer(port, title="OTHER"))


def test_a_missing_presentation_context_is_named_and_not_repeated(tmp_path):
    with store(tmp_path) as port, pytest.raises(NotSupported, match="Worklist") as caught:
        list(query(port, FIND))
    assert not caught.value.again


def query(port: int, *contexts: str) -> list:
    other = peer(port)
    keys = Dataset()
    keys.PatientID = ""
    with associated(hospital(), other, contexts or [FIND, Verification]) as association:
        return list(found(association, other, keys, FIND))


def finder(answer) -> tuple:
    entity = AE("RIS")
    entity.add_supported_context(FIND)
    return entity, (evt.EVT_C_FIND, answer)


def test_a_peer_that_aborts_in_the_middle_is_silent():
    def answer(event):
        match = Dataset()
        match.PatientID = "1"
        yield 0xFF00, match
        event.assoc.abort()

    with serving(*finder(answer)) as port, pytest.raises(PeerSilent):
        query(port)


def test_a_failure_status_is_carried_with_its_comment():
    def answer(_event):
        status = Dataset()
        status.Status = 0xA700
        status.ErrorComment = "database full"
        yield status, None

    with (
        serving(*finder(answer)) as port,
        pytest.raises(PeerRefused, match=r"A700H.*database full") as caught,
    ):
        query(port)
    assert (caught.value.status, caught.value.again) == (0xA700, True)


def test_a_match_that_cannot_be_decoded_is_told_once_and_the_others_come(monkeypatch):
    def answer(_event):
        for number in range(3):
            match = Dataset()
            match.PatientID = str(number)
            yield 0xFF00, match

    def damaged(stream, *rest):
        if b"1 " in stream.getvalue():
            raise ValueError("damaged")
        return decode(stream, *rest)

    decode = pynetdicom.association.decode
    monkeypatch.setattr(pynetdicom.association, "decode", damaged)
    with serving(*finder(answer)) as port:
        assert [match and match.PatientID for match in query(port)] == ["0", None, "2"]


def test_a_query_that_was_not_negotiated_is_not_supported():
    entity = AE("RIS")
    entity.add_supported_context(Verification)
    with serving(entity) as port, pytest.raises(NotSupported):
        query(port)


def test_an_error_in_the_block_aborts_and_stays_what_it_is():
    entity = AE("RIS")
    entity.add_supported_context(Verification)
    ended = threading.Event()
    with (
        serving(entity, (evt.EVT_ABORTED, lambda _: ended.set())) as port,
        pytest.raises(KeyError),
        associated(hospital(), peer(port), [Verification]),
    ):
        raise KeyError
    assert ended.wait(START_S)


def test_roles_are_negotiated_for_what_the_station_serves():
    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    with (
        serving(entity) as port,
        associated(hospital(), peer(port), [CTImageStorage], roles=[CTImageStorage]) as association,
    ):
        (context,) = association.accepted_contexts
        assert (context.as_scu, context.as_scp) == (True, True)
