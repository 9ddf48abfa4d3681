"""Results of many images in one file: JSON lines, CSV or Parquet by its suffix, resumable.

A line is written whole and flushed as soon as its image is done, so a run that was killed leaves whole lines
and at most one partial one, which `--resume` cuts off. JSON lines hold everything; the table of CSV and
Parquet holds one row of fixed columns per image, so that files of different runs fit together; the columns
follow from the result's contract. Parquet cannot grow line by line: its run is kept as JSON lines beside it
(`results.parquet.jsonl`) and turned into the table at the end, in batches.

Memory: a resumed run keeps eight bytes per finished image (about 100 with the set that holds them).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass, replace
from enum import Enum
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from station.result import DxrResult
from station.summary import summary

Report = Mapping[str, Any]

SUFFIXES = (".jsonl", ".csv", ".parquet")
_BATCH = 2000  # rows held at once while a Parquet file is written
_CHUNK_BYTES = 1 << 16


class ResultsUnusable(ValueError):  # noqa: N818  reads as the message it is
    """The results file cannot be written or continued; the message says why."""


class Results:
    """An open results file; `finished` knows what it held when it was opened."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        if path.suffix not in SUFFIXES:
            raise ResultsUnusable(f"{path}: the suffix decides the format; use {', '.join(SUFFIXES)}")
        self._path = path
        self._table = path.suffix == ".csv"
        self._lines = path.with_name(path.name + ".jsonl") if path.suffix == ".parquet" else path
        self._parquet = _parquet_writer() if path.suffix == ".parquet" else None
        existing = [file for file in (path, self._lines) if file.exists()]
        if existing and not resume:
            raise ResultsUnusable(f"{existing[0]} exists; give --resume to continue it, or another name")
        try:
            self._done = {_digest(source) for source in self._sources()} if self._lines.exists() else set()
            self._file = self._lines.open("ab")
            if self._table and self._file.tell() == 0:
                self._file.write(_csv_line(COLUMNS))
        except OSError as error:
            raise ResultsUnusable(f"{path}: cannot be written ({error.strerror})") from error

    def finished(self, source: str) -> bool:
        """Whether this image was in the file already."""
        return _digest(_plain(source) if self._table else source) in self._done

    def write(self, report: Report) -> None:
        """Append one image."""
        line = _csv_line(row(report).values()) if self._table else json.dumps(report).encode() + b"\n"
        self._file.write(line)
        self._file.flush()

    def close(self, *, complete: bool) -> None:
        """Close; a complete Parquet run becomes its table."""
        self._file.close()
        if complete and self._parquet is not None:
            self._parquet(self._path, (row(report) for _, report in _json_lines(self._lines)))

    def _sources(self) -> Iterator[str]:
        """Sources in the file, whose partial last line is cut off."""
        _cut_partial_line(self._lines)
        if not self._table:
            yield from (source for source, _ in _json_lines(self._lines))
            return
        with self._lines.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header not in {COLUMNS, ()}:
                raise ResultsUnusable(f"{self._path}: has other columns than this version; use another name")
            yield from (cells[0] for cells in rows if cells)


def only_result(path: Path) -> dict[str, Any]:
    """The one result in a file of JSON, as `exam` and `analyse` print it."""
    try:
        found = [report for _, report in islice(_json_lines(path), 2)]
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsUnusable(f"{path}: cannot be read ({error})") from error
    if len(found) != 1:
        count = "several results" if found else "no result"
        raise ResultsUnusable(f"{path}: holds {count}; give a file with the JSON of one image")
    return found[0]


def row(report: Report) -> dict[str, Any]:
    """The table's row of one report; what was not measured is None."""
    found = _cells(report)
    return {name: found.get(name) for name in COLUMNS}


def _cells(report: Report) -> dict[str, Any]:
    """What a report holds, flat: whatever the contract has is a column, but for points and pictures."""
    reasons = report["reasons"]
    refused = report["status"] != "measured"
    dxr = dict(report["dxr"] or {})
    bones: Mapping[str, Any] = dxr.pop("bones", {})
    cells: dict[str, Any] = {"source": _plain(report["source"])}
    cells |= {key: report[key] for key in ("status", "code", "side", "scale")}
    cells["reasons"] = " ".join(reason["id"] for reason in reasons)
    cells["message"] = _plain("; ".join(reason["message"] for reason in reasons)) if refused else None
    cells |= dict(_flat(report.get("visit") or {})) | dict(_flat(dxr))
    for number, bone in bones.items():
        cells |= dict(_flat(bone, f"mc{number}_"))
    return cells | {"total_ms": report["timings_ms"].get("total")}


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and scalars; what has a varying number of parts becomes one cell of JSON, or of sentences."""
    for key, value in entry.items():
        name = prefix + key
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, Any]", value), name + "_")
        elif key.endswith("_px"):
            continue
        elif isinstance(value, list):
            parts = cast("list[Any]", value)
            words = all(isinstance(part, str) for part in parts) and parts
            yield name, "; ".join(parts) if words else json.dumps(parts) if parts else None
        else:
            yield name, _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """One line, whatever a file name or a decoder's message holds."""
    return " ".join(text.splitlines())


def _digest(source: str) -> bytes:
    return blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8).digest()


def _csv_line(cells: Iterable[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode("utf-8", "surrogateescape")


def _cut_partial_line(path: Path) -> None:
    """Keep the file up to its last line end."""
    with path.open("r+b") as file:
        end = file.seek(0, io.SEEK_END)
        while end > 0:
            start = max(end - _CHUNK_BYTES, 0)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            report: Any = None
            with suppress(ValueError):
                report = json.loads(line)
            if not isinstance(report, dict) or not isinstance(report.get("source"), str):
                raise ResultsUnusable(f"{path}: line {number} is no result; is this another file?")
            yield report["source"], report


def _parquet_writer() -> Callable[[Path, Iterator[dict[str, Any]]], None]:
    """Writes rows in batches; refused before the first image where pyarrow is missing."""
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]  an extra
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ResultsUnusable(
            "Parquet needs pyarrow: pip install 'dxr-station[table]', or write .csv or .jsonl"
        ) from error
    kinds = {bool: pa.bool_(), float: pa.float64()}
    schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in _COLUMNS.items()])

    def write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
        aside = path.with_name(path.name + ".part")
        with parquet.ParquetWriter(aside, schema) as writer:
            while batch := list(islice(rows, _BATCH)):
                writer.write_table(pa.Table.from_pylist([_valid_text(r) for r in batch], schema))
        aside.replace(path)

    return write


def _valid_text(cells: dict[str, Any]) -> dict[str, Any]:
    """File names may hold bytes that are no text; Parquet holds text only."""
    text = cells["source"].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return cells | {"source": text}


def _example(kind: Any) -> Any:
    """A value of a type of the contract in which nothing is missing."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    origin = get_origin(kind)
    if origin is Literal:
        return parts[0]
    if origin is tuple:
        return tuple(_example(part) for part in parts if part is not Ellipsis)
    if parts:  # a union
        return _example(parts[0])
    if is_dataclass(kind):
        filled = {name: _example(hint) for name, hint in get_type_hints(kind).items()}
        return cast("type[Any]", kind)(**filled)
    return next(iter(kind)) if issubclass(kind, Enum) else kind()


def _columns() -> dict[str, type]:
    """The table's columns and their types: those of a result in which nothing is missing."""
    result: DxrResult = _example(DxrResult)
    bones = tuple(replace(result.bones[0], number=number) for number in (2, 3, 4))
    visit = {"taken": "", "detector_type": "", "detector_serial": ""}
    report = summary(replace(result, bones=bones), "", None, None, {"total": 0.0}, visit=visit)
    texts = {"code": "", "message": ""}
    return {name: type(value) for name, value in (_cells(report) | texts).items()}


_COLUMNS = _columns()
COLUMNS = tuple(_COLUMNS)
