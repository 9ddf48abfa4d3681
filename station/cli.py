"""The command line: parses, calls, prints. No logic of its own.

Exit codes: 0 done · 2 usage or configuration · 3 analysis refused (with reasons) · 4 hardware fault ·
5 archive or network. With --json stdout carries JSON and nothing else; progress goes to stderr and only to a
terminal.
"""

import json
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from station import cli_hospital, cli_run, cli_service
from station.devices import Technique
from station.terminal import (
    Deliver,
    Fault,
    HospitalOption,
    Json,
    Out,
    RealTime,
    RoomOption,
    Seed,
    SexOption,
    SideOption,
    bar,
    hospital_of,
    ordered,
    print_report,
    progress,
    simulation_of,
    usage_errors,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="DXR acquisition station: one PA view of the hand, DXR-BMD at once.",
)
app.add_typer(cli_run.app)
app.add_typer(cli_service.app)
app.add_typer(cli_hospital.app)


def main() -> None:
    """Entry point."""
    app()


@app.command()
def exam(
    patient_id: Annotated[str, typer.Option("--id", help="Patient ID.")] = "DEMO-1",
    name: Annotated[str, typer.Option(help="Patient name, Family^Given.")] = "Demo^Patient",
    birth_date: Annotated[str | None, typer.Option(help="YYYY-MM-DD; default: 62 years ago.")] = None,
    sex: SexOption = "F",
    accession: Annotated[str, typer.Option(help="Accession number of the order.")] = "DEMO",
    side: SideOption = "L",
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
    seed: Seed = None,
    fault: Fault = None,
    out: Out = Path("dxr-exams"),
    room: RoomOption = "sim",
    hospital: HospitalOption = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Without an order: --name, --birth-date, --sex and --side.")
    ] = False,
    order: Annotated[str, typer.Option(help="Accession number in the worklist, or what was scanned.")] = "",
    released_by: Annotated[str, typer.Option(help="Who releases result and charge at once.")] = "",
    physician: Annotated[
        bool, typer.Option("--physician", help="That is a physician: the report is final.")
    ] = False,
    deliver: Deliver = 30,
    recover: Annotated[bool, typer.Option("--recover", help="Only finish what a former run left.")] = False,
    acknowledge: Annotated[str, typer.Option(help="With --recover: why an exposure has no image.")] = "",
    real_time: RealTime = False,
    as_json: Json = False,
) -> None:
    """Make one exam from order to result and DICOM pair."""
    simulation = simulation_of(phantom, pose, radiograph, pixel_spacing, seed, fault)
    with usage_errors(), ExitStack() as stack:
        from station import headless
        from station.assembly import assemble
        from station.config import load_room
        from station.durable import only_here
        from station.liaison import connected

        stack.enter_context(only_here(out))
        loaded = load_room(room)
        peers = hospital_of(hospital or loaded.hospital)
        item = _order(patient_id, name, birth_date, sex, side, accession)
        if order:
            item = ordered(peers, out, order)
        elif emergency:
            item = _emergency(name, birth_date, sex, side)
        if loaded.simulation and "side=" not in (pose or ""):
            simulation["pose"] = ",".join(filter(None, (f"side={item.side}", pose)))  # the ordered hand
        controller = assemble(loaded, simulation, out, real_time=real_time, hospital=peers)
        parts = controller.parts
        liaison = stack.enter_context(connected(parts.dispatch, parts.journal, out))
        if recover:
            reports = headless.recover(controller, acknowledge, progress(as_json))
        else:
            wish = headless.Order(
                item, hand_size, _technique(technique), positioned_by, released_by, physician
            )
            reports = [headless.run_exam(controller, wish, progress(as_json))]
        if peers:
            progress(as_json)("delivering")
            headless.deliver(reports, liaison, deliver)
    for report in reports:
        print_report(report.json, as_json)
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
    with usage_errors(OSError):
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
        with prepared(plan) as run, bar(run.total, hidden=plan.single) as advance:
            for report in run.reports:
                refused += report["status"] != "measured"
                if as_json or out is None:
                    print_report(report, as_json, source=not plan.single)
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
    as_json: Json = False,
) -> None:
    """Compare the densities of two visits. Exits 0 if they can be compared, else 3."""
    with usage_errors():
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
    out: Out = Path("dxr-exams"),
    room: RoomOption = "sim",
    seed: Seed = None,
    fault: Fault = None,
    real_time: RealTime = False,
    as_json: Json = False,
) -> None:
    """Make new dark, flat and defect maps; the panel must be clear."""
    with usage_errors():
        from station import headless
        from station.assembly import assemble
        from station.config import load_room

        simulation = simulation_of(None, None, None, None, seed, fault)
        controller = assemble(load_room(room), simulation, out, real_time=real_time)
        report = headless.run_calibration(controller, progress(as_json))
    typer.echo(json.dumps(report.json) if as_json else report.json["message"])
    raise typer.Exit(report.exit_code)


def _order(patient_id: str, name: str, birth_date: str | None, sex: str, side: str, accession: str) -> Any:
    from station.exam import Patient, Sex, Side, WorklistItem, new_uid

    today = date.today()  # noqa: DTZ011  the order's local date
    born = date.fromisoformat(birth_date) if birth_date else today - timedelta(days=62 * 365.25 + 30)
    patient = Patient(patient_id, name, born, Sex(sex))
    patient.age_at(today)
    return WorklistItem(accession, patient, Side(side), "0750T", new_uid(), accession, accession)


def _emergency(name: str, birth_date: str | None, sex: str, side: str) -> Any:
    from station import orders
    from station.clock import RealClock
    from station.exam import Sex, Side, new_uid

    born = date.fromisoformat(birth_date) if birth_date else None
    return orders.emergency(name, Side(side), RealClock().wall(), new_uid(), birth_date=born, sex=Sex(sex))


def _technique(text: str | None) -> Technique | None:
    """`kvp=50,ma=100,ms=16` or None."""
    if text is None:
        return None
    parts = {key: value for key, _, value in (part.partition("=") for part in text.split(","))}
    if set(parts) != {"kvp", "ma", "ms"}:
        raise ValueError(f"--technique {text}: give kvp=…,ma=…,ms=…, each once and nothing else")
    return Technique(float(parts["kvp"]), float(parts["ma"]), float(parts["ms"]))
