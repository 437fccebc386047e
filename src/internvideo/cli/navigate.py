"""`internvideo navigate`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from internvideo.cli.options import Card, Device, model_names
from internvideo.cli.terminal import output_folder
from internvideo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from internvideo.simulator.episodes import Episode

__all__ = ["find_episode", "navigate"]

_HOUSE = 7_000_001  # as in reports: no agent of the package has learnt in it


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
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name, file, folder or hub id of an agent.",
            autocompletion=model_names,
        ),
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
    from internvideo.tasks.navigation.journey import go

    output_folder(out)
    if seed is not None and (scene or episodes):
        raise typer.BadParameter(
            "--seed names a procedural house; leave out --scene and --episodes"
        )
    told = find_episode(
        instruction, episodes=episodes, episode=episode, scene=scene,
        seed=_HOUSE if seed is None else seed, start=_place(start), heading=heading, scenes=scenes,
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


def find_episode(
    instruction: str | None,
    *,
    episodes: Path | None = None,
    episode: str | None = None,
    scene: str | None = None,
    seed: int = _HOUSE,
    start: tuple[float, float] | None = None,
    heading: float | None = None,
    scenes: str = "",
) -> Episode:
    """Return what a user asks to be walked.

    Args:
        instruction: None takes that of the episode, or of one that is drawn in the scene.
        episodes: a file of R2R-CE or RxR-CE.
        episode: its number there; None is the first.
        scene: such as `rooms/7.json`, or the file of a mesh; None is the house of the seed.
        seed: of that house, or of the start in a mesh.
        start: x and z in metres; None draws one, in a procedural house with an episode, whose goal
            belongs to its own instruction.
        heading: degrees to the left of −z at the start.
        scenes: the folder below which scenes lie that are files.

    Raises:
        DataError: no such episode or scene.
        ConfigError: options that exclude each other.
    """
    import numpy as np

    from internvideo.simulator.episodes import Episode, read_episodes, start_rotation, vector
    from internvideo.simulator.instructions import make_episodes
    from internvideo.simulator.opening import open_backend

    if episodes is not None:
        if scene is not None or start is not None or heading is not None:
            raise ConfigError("--episodes says scene, start and heading itself; leave these out")
        known = {each.episode_id: each for each in read_episodes(episodes).episodes}
        found = known.get(episode) if episode is not None else next(iter(known.values()))
        if found is None:
            raise DataError(f"{episodes} has no episode {episode!r} among its {len(known)}")
        return found if instruction is None else _retold(found, instruction)
    if episode is not None:
        raise ConfigError("--episode is a number in a file; give the file by --episodes")
    scene = scene or f"rooms/{seed}.json"
    if start is None and scene.startswith("rooms/"):
        if heading is not None:
            raise ConfigError("--heading goes with --start X,Z")
        found = make_episodes([scene], 1, brief=True)[0]
        return found if instruction is None else _retold(found, instruction)
    if instruction is None:
        raise ConfigError("where is the agent to go? give --instruction")
    backend = open_backend("rooms", scenes=scenes)
    backend.load(scene)
    if start is None:
        place = backend.random_point(np.random.default_rng(seed))
    else:
        place = np.array([start[0], 0.0, start[1]])
        place[1] = backend.snap(place)[1]
    return Episode(
        episode_id="1",
        scene_id=scene,
        start_position=vector(place),
        start_rotation=start_rotation(math.radians(heading or 0.0)),
        instruction=instruction,
    )


def _retold(episode: Episode, instruction: str) -> Episode:
    """Return an episode with other words, of whose goal nothing is known."""
    if instruction == episode.instruction:
        return episode
    return replace(episode, instruction=instruction, goal=None, reference_path=())
