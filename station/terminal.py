"""What all commands share: options, progress, errors in one line, and how a report is printed."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from station.exam import WorklistItem
    from station.hospital import Hospital

from station.devices import BadSettings, DeviceError
from station.registry import UnknownDriver
from station.yaml_file import BadFile

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path, typer.Option(help="Folder of the station's disk: spool, journal, calibration.")]
RoomOption = Annotated[str, typer.Option(help="Room: a shipped name or a YAML file.")]
HospitalOption = Annotated[
    str | None, typer.Option("--hospital", help="Hospital: a shipped name or a YAML file.")
]
Deliver = Annotated[float, typer.Option("--deliver", help="Wait so many seconds for the hospital's answers.")]
ReleasedBy = Annotated[str, typer.Option(help="Who stands for result and charge.")]
Physician = Annotated[bool, typer.Option("--physician", help="That is a physician: the report is final.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the simulated world.")]
Fault = Annotated[
    list[str] | None, typer.Option(help="Script a fault into the simulated world (repeatable).")
]
RealTime = Annotated[bool, typer.Option("--real-time", help="Let time pass as in a real room.")]
SideOption = Annotated[str, typer.Option(help="Side: L or R.")]
SexOption = Annotated[str, typer.Option(help="Sex: F, M or O.")]


@contextmanager
def usage_errors(*more: type[Exception]) -> Generator[None]:
    """What the user asked cannot be: say it in one line and exit 2; hardware that is not there exits 4."""
    try:
        yield
    except more as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except (BadFile, BadSettings, UnknownDriver, ValueError, KeyError) as error:
        typer.echo(f"error: {error.args[0] if error.args else error}", err=True)
        raise typer.Exit(2) from error
    except DeviceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(4) from error


def hospital_of(name: str | None) -> "Hospital | None":
    """The hospital of that name or file, None without one."""
    from station.hospital import load_hospital

    return load_hospital(name) if name else None


def ordered(hospital: "Hospital | None", folder: Path, scanned: str) -> "WorklistItem":
    """The order in today's worklist, or in the one kept while the RIS is down. Raises ValueError."""
    from station.liaison import worklist_now
    from station.orders import select
    from station.result import Reason

    answer, why = worklist_now(hospital, folder)
    if why:
        typer.echo(f"warning: {why}", err=True)
    row = select(answer.rows if answer else (), scanned)
    if isinstance(row, Reason):
        raise ValueError(f"{row.message}; {row.remedy}")  # noqa: TRY004  of what was typed
    if row.item is None:
        raise ValueError("; ".join(f"{one.message}; {one.remedy}" for one in row.problems))
    return row.item


def simulation_of(
    phantom: str | None,
    pose: str | None,
    radiograph: Path | None,
    pixel_spacing: float | None,
    seed: int | None,
    faults: list[str] | None,
) -> dict[str, Any]:
    """What was given of a simulated world."""
    given: dict[str, Any] = {
        "phantom": phantom,
        "pose": pose,
        "radiograph": str(radiograph) if radiograph else None,
        "pixel_spacing_mm": pixel_spacing,
        "seed": seed,
        "faults": faults or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def progress(as_json: bool) -> Callable[[str], None]:
    """Progress for a terminal, silence for a pipe."""
    shown = not as_json and sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            typer.echo(f"  {text}", err=True)

    return say


@contextmanager
def bar(total: int, *, hidden: bool) -> Generator[Callable[[], None]]:
    """A bar with the remaining time on a terminal; nothing in a pipe, or where lines are printed between."""
    if hidden or not sys.stderr.isatty() or sys.stdout.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        yield partial(progress.advance, task)


def _nothing() -> None:
    """No bar."""


def print_report(report: dict[str, Any], as_json: bool, *, source: bool = False) -> None:
    """One report, for a program or for a person."""
    if as_json:
        typer.echo(json.dumps(report))
        return
    from station.summary import as_text

    if source:
        typer.echo(ascii(report["source"])[1:-1] if not report["source"].isprintable() else report["source"])
    typer.echo(as_text(report))
