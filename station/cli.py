"""The command line: parses, calls, prints. No logic of its own.

Exit codes: 0 done · 2 usage or configuration · 3 analysis refused (with reasons) · 4 hardware fault ·
5 archive or network. With --json stdout carries JSON and nothing else; progress goes to stderr and only to a
terminal.
"""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from station.devices import BadSettings, DeviceError, Technique
from station.registry import UnknownDriver
from station.yaml_file import BadFile

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="DXR acquisition station: one PA view of the hand, DXR-BMD at once.",
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_Out = Annotated[Path, typer.Option(help="Folder of the station's disk: spool, journal, calibration.")]
_Room = Annotated[str, typer.Option(help="Room: a shipped name or a YAML file.")]
_Seed = Annotated[int | None, typer.Option(help="Seed of the simulated world.")]
_Fault = Annotated[
    list[str] | None, typer.Option(help="Script a fault into the simulated world (repeatable).")
]
_RealTime = Annotated[bool, typer.Option("--real-time", help="Let time pass as in a real room.")]
_Side = Annotated[str, typer.Option(help="Side: L or R.")]
_Sex = Annotated[str, typer.Option(help="Sex: F, M or O.")]


def main() -> None:
    """Entry point."""
    app()


@contextmanager
def _usage_errors(*more: type[Exception]) -> Generator[None]:
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


@app.command()
def exam(
    patient_id: Annotated[str, typer.Option("--id", help="Patient ID.")] = "DEMO-1",
    name: Annotated[str, typer.Option(help="Patient name, Family^Given.")] = "Demo^Patient",
    birth_date: Annotated[str | None, typer.Option(help="YYYY-MM-DD; default: 62 years ago.")] = None,
    sex: _Sex = "F",
    accession: Annotated[str, typer.Option(help="Accession number of the order.")] = "DEMO",
    side: _Side = "L",
    hand_size: Annotated[str, typer.Option(help="small, medium or large.")] = "medium",
    technique: Annotated[
        str | None, typer.Option(help="Instead of the protocol's: kvp=50,ma=100,ms=16.")
    ] = None,
    positioned_by: Annotated[str, typer.Option(help="Signs the checklist where there is no camera.")] = "",
    phantom: Annotated[str | None, typer.Option(help="Simulated hand, e.g. t=1.6,w=8.2.")] = None,
    pose: Annotated[str | None, typer.Option(help="Its pose, e.g. rotation=5,shift=5:-3.")] = None,
    radiograph: Annotated[Path | None, typer.Option(help="Replay a real radiograph instead.")] = None,
    pixel_spacing: Annotated[
        float | None, typer.Option(help="Its pixel spacing at the detector, mm.")
    ] = None,
    seed: _Seed = None,
    fault: _Fault = None,
    out: _Out = Path("dxr-exams"),
    room: _Room = "sim",
    recover: Annotated[bool, typer.Option("--recover", help="Only finish what a former run left.")] = False,
    acknowledge: Annotated[str, typer.Option(help="With --recover: why an exposure has no image.")] = "",
    real_time: _RealTime = False,
    as_json: _Json = False,
) -> None:
    """Make one exam from order to result and DICOM pair."""
    simulation = _simulation(phantom, pose, radiograph, pixel_spacing, seed, fault)
    with _usage_errors():
        from station import headless
        from station.assembly import assemble
        from station.config import load_room

        loaded = load_room(room)
        if loaded.simulation and "side=" not in (pose or ""):
            simulation["pose"] = ",".join(
                filter(None, (f"side={side}", pose))
            )  # the patient lays the ordered hand
        item = _order(patient_id, name, birth_date, sex, side, accession)
        controller = assemble(loaded, simulation, out, real_time=real_time)
        if recover:
            reports = headless.recover(controller, acknowledge, _progress(as_json))
        else:
            order = headless.Order(item, hand_size, _technique(technique), positioned_by)
            reports = [headless.run_exam(controller, order, _progress(as_json))]
    for report in reports:
        _print_report(report.json, as_json)
    if recover and not reports and not as_json:
        typer.echo("nothing was left unfinished")
    raise typer.Exit(max((report.exit_code for report in reports), default=0))


@app.command()
def analyse(
    files: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or DICOM files of PA hands, or folders of them.")
    ],
    age: Annotated[
        float | None, typer.Option(help="Age in years at the time of the image; overrides DICOM.")
    ] = None,
    sex: Annotated[str | None, typer.Option(help="Sex: F, M or O; overrides DICOM.")] = None,
    side: Annotated[str | None, typer.Option(help="Side: L or R; overrides DICOM.")] = None,
    pixel_spacing: Annotated[
        float | None, typer.Option(help="At the detector, mm; overrides the file.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="Protocol: a shipped name or a YAML file.")] = "hand-dxr",
    taken: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Date of the image; overrides DICOM.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Type of the detector, maker and model; overrides DICOM.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Results file: .jsonl (everything), .csv or .parquet (a table).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip images that --out holds already.")] = False,
    overlay: Annotated[Path | None, typer.Option(help="Folder for pictures of what was measured.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler instead, tcp://host:port.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image and nothing else.")
    ] = False,
) -> None:
    """Analyse images that exist already (0749T). Exits 0 if all were measured, else 3."""
    refused = 0
    with _usage_errors(OSError):
        from station import workers

        if jobs != 1 and scheduler is None and (len(files) > 1 or files[0].is_dir()):
            workers.start()
        from station.batch import Plan, prepared
        from station.exam import Sex, Side
        from station.existing import Request

        request = Request.of(
            protocol,
            age=age,
            sex=Sex(sex) if sex else None,
            side=Side(side) if side else None,
            pixel_spacing_mm=pixel_spacing,
            overlays=overlay,
            taken=taken.date() if taken else None,
            detector_type=detector,
        )
        plan = Plan(tuple(files), request, jobs or workers.available_cores(), scheduler, out, resume)
        with prepared(plan) as run, _bar(run.total, hidden=plan.single) as advance:
            for report in run.reports:
                refused += report["status"] != "measured"
                if as_json or out is None:
                    _print_report(report, as_json, source=not plan.single)
                advance()
    if out is not None and not as_json:
        skipped = f", {run.skipped} were there already" if run.skipped else ""
        typer.echo(f"{run.total - refused} measured, {refused} refused{skipped}: {out}")
    raise typer.Exit(3 if refused else 0)


@app.command()
def change(
    earlier: Annotated[Path, typer.Argument(help="Result of the first visit: the JSON of exam or analyse.")],
    later: Annotated[Path, typer.Argument(help="Result of the second visit.")],
    protocol: Annotated[
        str, typer.Option(help="Protocol with this station's precision: a shipped name or a YAML file.")
    ] = "hand-dxr",
    as_json: _Json = False,
) -> None:
    """Compare the densities of two visits. Exits 0 if they can be compared, else 3."""
    with _usage_errors():
        from station.dxr.change import change_json, change_of, change_text
        from station.protocols import load_protocol
        from station.results_file import only_result

        analysis = load_protocol(protocol).analysis
        found = change_of(only_result(earlier), only_result(later), analysis.repeatability_cv_percent)
    shown = change_json(found)
    typer.echo(json.dumps(shown) if as_json else change_text(found))
    raise typer.Exit(0 if shown["comparable"] else 3)


@app.command()
def calibrate(
    out: _Out = Path("dxr-exams"),
    room: _Room = "sim",
    seed: _Seed = None,
    fault: _Fault = None,
    real_time: _RealTime = False,
    as_json: _Json = False,
) -> None:
    """Make new dark, flat and defect maps; the panel must be clear."""
    with _usage_errors():
        from station import headless
        from station.assembly import assemble
        from station.config import load_room

        simulation = _simulation(None, None, None, None, seed, fault)
        controller = assemble(load_room(room), simulation, out, real_time=real_time)
        report = headless.run_calibration(controller, _progress(as_json))
    typer.echo(json.dumps(report.json) if as_json else report.json["message"])
    raise typer.Exit(report.exit_code)


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help="room, pacs, or one device: r2cp, gige, modbus, camera …")],
    room: _Room = "room-example",
    tcp: Annotated[str, typer.Option(help="HOST:PORT of one device.")] = "",
    pty: Annotated[Path | None, typer.Option(help="Path of one device's serial line.")] = None,
    phantom: Annotated[str | None, typer.Option(help="Simulated hand, e.g. t=1.6,w=8.2.")] = None,
    pose: Annotated[str | None, typer.Option(help="Its pose, e.g. rotation=5.")] = None,
    seed: _Seed = None,
    fault: _Fault = None,
    attendant: Annotated[
        bool, typer.Option("--attendant", help="Somebody works the hand switch by the lamps.")
    ] = False,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Not the room file's addresses.")] = False,
    seconds: Annotated[float | None, typer.Option(help="End after so long, not with the input.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the file that connects to it.")] = None,
    certificates: Annotated[
        Path | None, typer.Option(help="pacs with TLS: folder of {certificate,key,authorities}.pem.")
    ] = None,
) -> None:
    """Simulate a room or hospital on real wires; prints its file, then obeys orders ('?' lists them)."""
    from station import simulate as simulation
    from station.config import load_room

    with _usage_errors():
        file = load_room(room)
        wish = simulation.Wish(name, tcp, str(pty or ""), free_ports, attendant, str(certificates or ""))
        simulated, make_text = simulation.find(
            wish, file, _simulation(phantom, pose, None, None, seed, fault)
        )
        with simulation.running(simulated, follow_lamps=attendant):
            text = make_text()
            if write:
                write.write_text(text, encoding="utf-8")
            typer.echo(text)
            simulation.serve(simulated, seconds, typer.echo)


@app.command()
def states(as_json: _Json = False) -> None:
    """Print the state machine as a Mermaid diagram, or its rows as JSON."""
    from station.states import TABLE, diagram

    typer.echo(json.dumps([row._asdict() for row in TABLE]) if as_json else diagram(), nl=as_json)


@app.command()
def hazards(as_json: _Json = False) -> None:
    """List what may go wrong, why, and what holds against it."""
    import yaml

    found = yaml.safe_load(Path(__file__).with_name("hazards.yaml").read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, row in found.items():
        typer.echo(f"{name}\n  cause    {row['cause']}\n  control  {row['control']}")


@app.command()
def drivers(
    name: Annotated[str | None, typer.Argument(help="Only this one, with all it says of itself.")] = None,
    as_json: _Json = False,
) -> None:
    """List the installed device drivers, and how many of their facts no source proves."""
    from station.registry import describe, find_driver, installed_drivers, listing

    with _usage_errors():
        points = [find_driver(name)] if name else list(installed_drivers().values())
    found = [describe(point) for point in points]
    typer.echo(json.dumps([facts.json for facts in found]) if as_json else listing(found, whole=bool(name)))


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="YAML files; default: all that are shipped.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Validate room, protocol and reference files."""
    from station.check import check_files

    verdicts = check_files(files)
    if as_json:
        typer.echo(json.dumps(verdicts))
    else:
        for verdict in verdicts:
            typer.echo("\n".join(verdict["problems"]) or f"{verdict['file']}: good {verdict['kind']}")
    raise typer.Exit(2 if any(verdict["problems"] for verdict in verdicts) else 0)


def _simulation(
    phantom: str | None,
    pose: str | None,
    radiograph: Path | None,
    pixel_spacing: float | None,
    seed: int | None,
    faults: list[str] | None,
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "phantom": phantom,
        "pose": pose,
        "radiograph": str(radiograph) if radiograph else None,
        "pixel_spacing_mm": pixel_spacing,
        "seed": seed,
        "faults": faults or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _order(patient_id: str, name: str, birth_date: str | None, sex: str, side: str, accession: str) -> Any:
    from station.exam import Patient, Sex, Side, WorklistItem, new_uid

    today = date.today()  # noqa: DTZ011  the order's local date
    born = date.fromisoformat(birth_date) if birth_date else today - timedelta(days=62 * 365.25 + 30)
    patient = Patient(patient_id, name, born, Sex(sex))
    patient.age_at(today)
    return WorklistItem(accession, patient, Side(side), "0750T", new_uid(), accession, accession)


def _technique(text: str | None) -> Technique | None:
    """`kvp=50,ma=100,ms=16` or None."""
    if text is None:
        return None
    parts = {key: value for key, _, value in (part.partition("=") for part in text.split(","))}
    if set(parts) != {"kvp", "ma", "ms"}:
        raise ValueError(f"--technique {text}: give kvp=…,ma=…,ms=…, each once and nothing else")
    return Technique(float(parts["kvp"]), float(parts["ma"]), float(parts["ms"]))


def _progress(as_json: bool) -> Callable[[str], None]:
    """Progress for a terminal, silence for a pipe."""
    shown = not as_json and sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            typer.echo(f"  {text}", err=True)

    return say


@contextmanager
def _bar(total: int, *, hidden: bool) -> Generator[Callable[[], None]]:
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


def _print_report(report: dict[str, Any], as_json: bool, *, source: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    from station.summary import as_text

    if source:
        typer.echo(ascii(report["source"])[1:-1] if not report["source"].isprintable() else report["source"])
    typer.echo(as_text(report))
