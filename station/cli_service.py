"""Commands for who looks after the station: simulators, drivers, states, hazards, files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from station.terminal import Fault, Json, RoomOption, Seed, simulation_of, usage_errors

app = typer.Typer()


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help="room, pacs, or one device: r2cp, gige, modbus, camera …")],
    room: RoomOption = "room-example",
    tcp: Annotated[str, typer.Option(help="HOST:PORT of one device.")] = "",
    pty: Annotated[Path | None, typer.Option(help="Path of one device's serial line.")] = None,
    phantom: Annotated[str | None, typer.Option(help="Simulated hand, e.g. t=1.6,w=8.2.")] = None,
    pose: Annotated[str | None, typer.Option(help="Its pose, e.g. rotation=5.")] = None,
    seed: Seed = None,
    fault: Fault = None,
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

    with usage_errors():
        file = load_room(room)
        wish = simulation.Wish(name, tcp, str(pty or ""), free_ports, attendant, str(certificates or ""))
        simulated, make_text = simulation.find(
            wish, file, simulation_of(phantom, pose, None, None, seed, fault)
        )
        with simulation.running(simulated, follow_lamps=attendant):
            text = make_text()
            if write:
                write.write_text(text, encoding="utf-8")
            typer.echo(text)
            simulation.serve(simulated, seconds, typer.echo)


@app.command()
def pin() -> None:
    """Ask for a new PIN twice, unseen, and print what stands for it in the file of operators."""
    from station.operators import hashed

    with usage_errors():
        typer.echo(hashed(typer.prompt("PIN", hide_input=True, confirmation_prompt=True, err=True)))


@app.command()
def states(as_json: Json = False) -> None:
    """Print the state machine as a Mermaid diagram, or its rows as JSON."""
    from station.states import TABLE, diagram

    typer.echo(json.dumps([row._asdict() for row in TABLE]) if as_json else diagram(), nl=as_json)


@app.command()
def hazards(as_json: Json = False) -> None:
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
    as_json: Json = False,
) -> None:
    """List the installed device drivers, and how many of their facts no source proves."""
    from station.registry import describe, find_driver, installed_drivers, listing

    with usage_errors():
        points = [find_driver(name)] if name else list(installed_drivers().values())
    found = [describe(point) for point in points]
    typer.echo(json.dumps([facts.json for facts in found]) if as_json else listing(found, whole=bool(name)))


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="YAML files; default: all that are shipped.")
    ] = None,
    as_json: Json = False,
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
