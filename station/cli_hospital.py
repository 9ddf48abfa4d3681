"""Commands for the way between station and hospital: worklist, outbox, release, reconcile, doctor, lint."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from station.terminal import (
    Deliver,
    HospitalOption,
    Json,
    Out,
    Physician,
    RoomOption,
    hospital_of,
    ordered,
    usage_errors,
)

app = typer.Typer()
_Exam = Annotated[str, typer.Argument(help="UID of the exam: the name of its folder in the spool.")]
_NETWORK = 5


@app.command()
def worklist(
    hospital: HospitalOption = "hospital-example",
    search: Annotated[str, typer.Option(help="Only rows that contain this, or that were scanned.")] = "",
    out: Out = Path("dxr-exams"),
    as_json: Json = False,
) -> None:
    """Show today's orders, and what is wrong with those that cannot be used. Exits 5 without any list."""
    from station.liaison import worklist_now
    from station.orders import containing, rows_json, rows_text

    with usage_errors():
        answer, why = worklist_now(hospital_of(hospital), out)
    rows = containing(answer.rows, search) if answer else ()
    if as_json:
        asked_at = answer.asked_at.isoformat() if answer else None
        typer.echo(json.dumps({"asked_at": asked_at, "warning": why, "rows": rows_json(rows)}))
    else:
        typer.echo(rows_text(rows) or "no orders")
        if why:
            typer.echo(f"warning: {why}", err=True)
    raise typer.Exit(0 if answer else _NETWORK)


@app.command()
def outbox(
    exam: Annotated[str, typer.Option(help="Only of this exam.")] = "",
    retry: Annotated[list[str] | None, typer.Option(help="Try a parked job again (repeatable).")] = None,
    deliver: Annotated[float, typer.Option(help="Serve the outbox for at most so many seconds.")] = 0,
    hospital: HospitalOption = None,
    out: Out = Path("dxr-exams"),
    as_json: Json = False,
) -> None:
    """Show what is on its way, and how far it came. Exits 5 if something is parked, or not delivered."""
    from station import delivery

    with usage_errors():
        shown = delivery.look(out, exam, tuple(retry or ()), hospital_of(hospital), deliver)
    typer.echo(json.dumps(shown) if as_json else delivery.text(shown))
    raise typer.Exit(_NETWORK if delivery.trouble(shown, asked=deliver > 0) else 0)


@app.command()
def release(
    exam: _Exam,
    by: Annotated[str, typer.Option(help="Who stands for result and charge.")],
    physician: Physician = False,
    hospital: HospitalOption = None,
    room: RoomOption = "sim",
    deliver: Deliver = 30,
    out: Out = Path("dxr-exams"),
    as_json: Json = False,
) -> None:
    """Release an exam's result and charge; by a physician the report becomes final."""
    from station import amend
    from station.clock import RealClock
    from station.exam import Release

    given = Release(by, RealClock().wall(), physician)
    with usage_errors(), ExitStack() as stack:
        books, liaison = amend.opened(stack, room, hospital_of(hospital), out)
        issued = amend.release(books, exam, given)
        shown = amend.told(books, issued, liaison.settle(exam, deliver))
    typer.echo(json.dumps(shown) if as_json else amend.text(shown))


@app.command()
def reconcile(
    exam: _Exam,
    order: Annotated[str, typer.Option(help="Accession number of the right order in the worklist.")],
    hospital: HospitalOption = None,
    room: RoomOption = "sim",
    deliver: Deliver = 30,
    out: Out = Path("dxr-exams"),
    as_json: Json = False,
) -> None:
    """Join an exam (of an emergency, or under a wrong order) to the right order."""
    from station import amend
    from station.clock import RealClock

    with usage_errors(), ExitStack() as stack:
        peers = hospital_of(hospital)
        item = ordered(peers, out, order)
        books, liaison = amend.opened(stack, room, peers, out)
        issued = amend.reconcile(books, exam, item, RealClock().wall())
        shown = amend.told(books, issued, liaison.settle(exam, deliver))
    typer.echo(json.dumps(shown) if as_json else amend.text(shown))


@app.command()
def doctor(
    study: Annotated[str, typer.Option(help="Study or exam UID: why is it not in the archive?")] = "",
    hospital: HospitalOption = "hospital-example",
    out: Out = Path("dxr-exams"),
    as_json: Json = False,
) -> None:
    """Try every hop to the hospital: what answers, what does not, and what to do. Exits 5 if one fails."""
    from station import delivery
    from station.hops import as_json as hops_json
    from station.hops import lines

    with usage_errors():
        hops = delivery.examined(hospital_of(hospital), out, study)
    typer.echo(json.dumps(hops_json(hops)) if as_json else "\n".join(lines(hops)))
    raise typer.Exit(_NETWORK if any(hop.ok is False for hop in hops) else 0)


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(help="DICOM files; those of one study are compared.")],
    as_json: Json = False,
) -> None:
    """Find contradictions in DICOM objects that validators of grammar do not see. Exits 3 for any."""
    from station.clock import RealClock
    from station.dicom.lint import lint_files

    with usage_errors(OSError):
        found = lint_files(files, now=RealClock().wall())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        for entry in found:
            typer.echo(f"{entry['path']}: {entry['kind']}" + ("" if entry["problems"] else ", good"))
            for problem in entry["problems"]:
                typer.echo(f"  {problem['id']}: {problem['message']} → {problem['remedy']}")
    raise typer.Exit(3 if any(entry["problems"] for entry in found) else 0)
