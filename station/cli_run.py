"""`dxr-station run`: the operator's terminal."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from station.terminal import Fault, HospitalOption, Out, Seed, hospital_of, simulation_of, usage_errors

app = typer.Typer()

_HINT = (
    "↑ ↓ choose an order, Enter opens it; then follow the line of instructions.\n"
    "F1 says what every key does; Esc aborts from everywhere."
)


@app.command()
def run(
    room: Annotated[
        str | None,
        typer.Option(help="Room: a shipped name or a file; none: a simulated room and hospital."),
    ] = None,
    hospital: HospitalOption = None,
    operators: Annotated[
        Path | None, typer.Option(help="Who may sign in; none: whoever is logged in at this computer.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Keys instead of the shipped ones.")] = None,
    pictures: Annotated[
        Literal["auto", "cells", "sixel", "kitty"],
        typer.Option(help="Radiographs: auto asks the terminal; over a slow line say what it can show."),
    ] = "auto",
    phantom: Annotated[str | None, typer.Option(help="Simulated hand, e.g. t=1.6,w=8.2.")] = None,
    pose: Annotated[str | None, typer.Option(help="Its pose, e.g. rotation=5.")] = None,
    seed: Seed = None,
    fault: Fault = None,
    out: Out = Path("dxr-exams"),
) -> None:
    """Work the station from this terminal; without arguments in a simulated room, ready for a first exam."""
    typer.echo(f"DXR station starts.\n{_HINT}", err=True)  # at once: what is imported below takes a second
    with usage_errors(), ExitStack() as stack:
        from station.durable import only_here

        stack.enter_context(only_here(out))
        from station.ui import session

        peers = hospital_of(hospital)
        if room is None and peers is None:
            from station.simulate import demo_hospital

            peers = stack.enter_context(demo_hospital())
        simulation = simulation_of(phantom, pose, None, None, seed, fault)
        wish = session.Wish(room or "sim", simulation, out, operators, keys, _HINT, pictures)
        ended = session.work(stack, wish, peers)
    raise typer.Exit(ended)
