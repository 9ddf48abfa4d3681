"""How long a worklist takes: from the answer to the list, and with the network of a real server."""

import time
from datetime import UTC, datetime
from io import BytesIO
from statistics import median

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from worklist_rigs import hospital, match, wlmscpfs

from station.dicom.scheduled import rows_of
from station.dicom.worklist import query
from station.orders import Answer, Cache, select

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AIM_S = 1.0  # 500 rows, answer to list
SLACK = 5  # a loaded machine


@pytest.mark.parametrize("rows", [500, 5000])
def test_a_worklist_is_a_list_soon_after_the_answer(tmp_path, rows, full):
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, match())
    wire = file.getvalue()
    read_s = []
    for _ in range(3 if full or rows == 500 else 1):
        began = time.perf_counter()
        answers = (read_dataset(BytesIO(wire), False, True) for _ in range(rows))
        made = tuple(row for one in answers for row in rows_of(one, {}, NOW))
        read_s.append(time.perf_counter() - began)
    cache = Cache(tmp_path / "worklist.json")
    began = time.perf_counter()
    cache.write(Answer(made, NOW, 0.0))
    written_s = time.perf_counter() - began
    began = time.perf_counter()
    kept, _ = cache.read()
    loaded_s = time.perf_counter() - began
    began = time.perf_counter()
    select(made, "no such order")
    chosen_s = time.perf_counter() - began
    print(f"\n| {rows} rows | answer to list | cache written | cache read | barcode |")
    print(f"| | {median(read_s):.2f} s | {written_s:.2f} s | {loaded_s:.2f} s | {chosen_s * 1e3:.0f} ms |")
    assert len(kept.rows) == rows
    assert median(read_s) < SLACK * AIM_S * rows / 500


def test_with_the_network_of_a_real_server(tmp_path, full):
    rows = 5000 if full else 500
    with wlmscpfs(tmp_path, rows) as port:
        answers = [query(hospital(port), NOW) for _ in range(2)]
    print(f"\n| {rows} rows from wlmscpfs, association to list | {min(a.took_s for a in answers):.2f} s |")
    assert all(len(answer.usable) == rows for answer in answers)
