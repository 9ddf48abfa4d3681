"""C-STORE to real and scripted archives: what is stored, what is repeated, what is refused for good."""

import threading

import pytest
from archive_rigs import CT, MR, SR, Pacs, dicom_file, instance
from certificates import certificates
from peers import HERE, free_port, process
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless

from station.dicom.association import NotSupported, PeerSilent, Unreachable
from station.dicom.storage import store
from station.hospital import Archive, Hospital


@pytest.fixture(scope="module")
def pacs():
    with Pacs() as archive:
        yield archive


def sent(hospital, files):
    return list(store(hospital, hospital.archives["pacs"], files))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mutual TLS"])
def test_dcmtk_stores_every_object_as_it_is(tmp_path, secure):
    port, kept = free_port(), tmp_path / "kept"
    kept.mkdir()
    server, client = certificates(tmp_path)[:2] if secure else (None, None)
    options = ["+tls", server.key, server.certificate, "+cf", server.authorities] if server else []
    hospital = Hospital(
        name="t",
        ae_title="DXR",
        tls=client,
        archives={"pacs": Archive(host=HERE, port=port, ae_title="STORESCP", plain=not secure)},
    )
    files = [dicom_file(tmp_path / "out", uid, pixels=bytes(range(256)) * 64) for uid in (CT, MR, SR)]
    with process(tmp_path, port, "storescp", "-od", str(kept), *map(str, options), str(port)):
        deliveries = sent(hospital, files)
    assert [(found.file, found.error, found.warning) for found in deliveries] == [
        (f, None, "") for f in files
    ]
    arrived = {(path := dcmread(name)).SOPInstanceUID: path for name in kept.iterdir()}
    assert {instance(path)[1] for path in files} == set(arrived)
    for path in files:
        ours = dcmread(path)
        assert arrived[ours.SOPInstanceUID] == ours
        assert arrived[ours.SOPInstanceUID].file_meta.TransferSyntaxUID == ours.file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    ("status", "stored", "again"),
    [
        (0x0000, True, None),
        (0xB000, True, None),
        (0xB006, True, None),
        (0xB007, True, None),
        (0x0111, True, None),
        (0xA700, False, True),
        (0xA7FF, False, True),
        (0x0110, False, True),
        (0x0124, False, True),
        (0x0213, False, True),
        (0x1234, False, True),
        (0xA900, False, False),
        (0xA9FF, False, False),
        (0xC000, False, False),
        (0xCFFF, False, False),
        (0x0117, False, False),
        (0x0122, False, False),
    ],
    ids=lambda value: f"{value:04X}" if type(value) is int else str(value),
)
def test_every_status_is_stored_repeated_or_refused_for_good(pacs, tmp_path, status, stored, again):
    pacs.statuses.append(status)
    first, second = sent(pacs.hospital(), [dicom_file(tmp_path), dicom_file(tmp_path)])
    assert (first.error is None) == stored
    assert bool(first.warning) == (status >> 12 == 0xB)
    assert second.error is None
    if not stored:
        assert (first.error.again, first.error.status) == (again, status)
        assert f"{status:04X}H" in first.error.message
        assert "Doe" not in str(first.error)


@pytest.mark.parametrize("classes", [(CT, SR), ()], ids=["one class", "every class"])
def test_a_class_that_the_archive_does_not_take_is_refused_for_good_by_name(tmp_path, classes):
    files = [dicom_file(tmp_path, uid) for uid in (CT, MR, SR)]
    with Pacs(classes) as pacs:
        deliveries = sent(pacs.hospital(), files)
    refused = [found for found in deliveries if found.error]
    assert len(refused) == 3 - len(classes)
    assert all(isinstance(found.error, NotSupported) and not found.error.again for found in refused)
    assert "MR Image Storage" in next(found for found in refused if found.file == files[1]).error.message


def test_an_archive_that_knows_only_implicit_encoding_gets_the_same_content(tmp_path):
    path = dicom_file(tmp_path, SR)
    with Pacs(syntaxes=[ImplicitVRLittleEndian]) as pacs:
        (found,) = sent(pacs.hospital(), [path])
    assert found.error is None
    assert pacs.kept[instance(path)[1]] == dcmread(path)


def test_a_compressed_file_is_refused_by_an_archive_that_cannot_have_it(tmp_path):
    path = dicom_file(tmp_path, pixels=b"\0" * 64)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x02\x00\x00\x00\0\0"
    dataset.save_as(path, enforce_file_format=True)
    with Pacs() as pacs:
        (found,) = sent(pacs.hospital(), [path])
        assert isinstance(found.error, NotSupported)
        assert "JPEG-LS" in found.error.message
    with Pacs(syntaxes=[JPEGLSLossless]) as pacs:
        (found,) = sent(pacs.hospital(), [path])
    assert found.error is None
    assert pacs.kept[instance(path)[1]].PixelData == dataset.PixelData


@pytest.mark.parametrize("how", ["abort", "close"])
def test_what_an_archive_was_doing_when_it_died_is_unknown_and_may_be_sent_again(pacs, tmp_path, how):
    files = [dicom_file(tmp_path, pixels=bytes(200_000)) for _ in range(4)]
    pacs.received.clear()
    pacs.breaks = how
    deliveries = store(pacs.hospital(), pacs.hospital().archives["pacs"], files)
    assert next(deliveries).error is None
    with pytest.raises(PeerSilent):
        next(deliveries)
    assert pacs.breaks == ""
    assert instance(files[3])[1] not in pacs.kept
    assert all(found.error is None for found in sent(pacs.hospital(), files))
    assert set(pacs.kept) >= {instance(path)[1] for path in files}


def test_an_archive_that_never_answers_is_given_up_in_its_time(tmp_path):
    never = threading.Event()
    with Pacs() as pacs:
        pacs.statuses.append(never)
        try:
            with pytest.raises(PeerSilent):
                sent(pacs.hospital(), [dicom_file(tmp_path)])
        finally:
            never.set()


def test_nobody_there_is_said_before_anything_is_sent(tmp_path):
    with Pacs() as pacs:
        hospital = pacs.hospital()
    with pytest.raises(Unreachable):
        sent(hospital, [dicom_file(tmp_path)])


@pytest.mark.parametrize("content", [None, b"", b"not DICOM at all", bytes(200) + b"DICM"])
def test_a_file_that_is_missing_or_damaged_is_refused_for_good_and_the_others_go(pacs, tmp_path, content):
    bad, good = tmp_path / "bad.dcm", dicom_file(tmp_path)
    if content is not None:
        bad.write_bytes(content)
    first, second = sent(pacs.hospital(), [bad, good])
    assert (first.file, first.error.again) == (bad, False)
    assert "bad.dcm" in first.error.message
    assert (second.file, second.error) == (good, None)


def test_all_files_unusable_needs_no_archive(tmp_path):
    with Pacs() as pacs:
        hospital = pacs.hospital()
    (found,) = sent(hospital, [tmp_path / "missing.dcm"])
    assert not found.error.again
