"""`internvideo navigate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.options import Card, Device
from internvideo.cli.terminal import output_folder

__all__ = ["navigate"]


def navigate(
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", "-i", help="Where to go; by default, what the episode says."),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(help="A procedural house such as rooms/7.json, or a mesh: .glb, .ply, .obj."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of a procedural house, instead of --scene.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="X,Z", help="Where to begin, in metres.")
    ] = None,
    heading: Annotated[
        float | None, typer.Option(help="Degrees to the left of −z at the start.")
    ] = None,
    episodes: Annotated[
        Path | None, typer.Option("--episodes", "-e", help="A file of R2R-CE or RxR-CE.")
    ] = None,
    episode: Annotated[
        str | None, typer.Option(help="Number in --episodes; by default, the first.")
    ] = None,
    scenes: Annotated[str, typer.Option(help="Folder of the scenes that are files.")] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, file, folder or hub id of an agent.")
    ] = "navigator-nano",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the map, video, plot and JSON.")
    ] = Path("walk"),
    backend: Annotated[str, typer.Option(help="Simulator: rooms, habitat.")] = "rooms",
    max_steps: Annotated[int, typer.Option(min=1, help="Decisions at most.")] = 25,
    card: Card = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = "auto",
) -> None:
    """Let an agent walk through a house where your words tell it to go.

    Writes a map with the walked path (and the true one, where it is known), a video of what the
    agent saw, a plot of how sure it was, and JSON. Without an instruction an episode is drawn in
    the house, with one of its own, so that the goal is known.

    Examples:
      internvideo navigate --seed 7000003
      internvideo navigate -i "Left to the blue kitchen, right to the red fridge." --seed 7
      internvideo navigate -i "Straight to the white bed" --scene flat.glb --start 1.5,2
      internvideo navigate -e val_unseen.json.gz --episode 12 --scenes scene_datasets
    """
    from internvideo.pipeline import load
    from internvideo.tasks.navigation.journey import HOUSE, find_episode, go

    output_folder(out)
    if seed is not None and (scene or episodes):
        raise typer.BadParameter(
            "--seed names a procedural house; leave out --scene and --episodes"
        )
    told = find_episode(
        instruction, episodes=episodes, episode=episode, scene=scene,
        seed=HOUSE if seed is None else seed, start=_place(start), heading=heading, scenes=scenes,
    )  # fmt: skip
    loaded = load(model, device=device, card=card).loaded
    journey = go(loaded, told, backend=backend, scenes=scenes, max_steps=max_steps)
    files = journey.save(out)
    if as_json:
        print(json.dumps({**journey.to_dict(), "files": [str(each) for each in files]}))
        return
    print(f"{told.instruction!r}: {loaded.name} {journey.outcome} ({', '.join(map(str, files))})")


def _place(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, z = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--start is {text!r}; expected X,Z such as 3.5,2") from None
    return x, z
