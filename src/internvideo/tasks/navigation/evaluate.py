"""Measure an agent on episodes, or score the walks that are handed in to a leader board."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.predictions import Answered
from internvideo.evaluation.report import failures_of
from internvideo.formats.files import read_json
from internvideo.models.navigator import Navigator
from internvideo.simulator.episodes import write_leader_board
from internvideo.simulator.metrics import measure as measure_walk
from internvideo.simulator.opening import open_backend
from internvideo.simulator.pool import Walker, make_environment, run_episodes
from internvideo.tasks.navigation.houses_source import (
    EpisodeSource,
    episodes_of_world,
    open_episodes,
)
from internvideo.tasks.navigation.report import NavigationReport, Walked
from internvideo.tasks.navigation.walkers import BASELINES, PolicyWalker, sensors_of
from internvideo.tasks.task import Option
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["agent_of", "evaluate", "measure", "score"]

_MAX_STEPS = 25
_MISLED = "told otherwise"


def agent_of(model: LoadedModel) -> Navigator:
    """Return the agent that a model is.

    Raises:
        ConfigError: it does not navigate.
    """
    if not isinstance(model.model, Navigator):
        raise ConfigError(
            f"{model.name} does not follow instructions in houses; name an agent, such as "
            "navigator-nano"
        )
    return model.model.eval()


class _Walks:
    """How walks are kept."""

    to_json = staticmethod(Walked.to_dict)
    from_json = staticmethod(Walked.from_dict)


def evaluate(
    model: LoadedModel,
    episodes: EpisodeSource,
    *,
    loop: EvalLoop,
    backend: Annotated[str, Option("Simulator: rooms, or habitat where it is installed.")] = (
        "rooms"
    ),
    max_steps: Annotated[int, Option("Decisions after which a walk is cut off.", minimum=1)] = (
        _MAX_STEPS
    ),
    baselines: Annotated[
        bool, Option("Walk at random, straight ahead and by instructions of other episodes, too.")
    ] = True,
    submission: Annotated[
        Path | None, Option("Write the walks into this file, as the leader board of R2R-CE.")
    ] = None,
) -> NavigationReport:
    """Measure how well an agent follows instructions in houses.

    Success is to stop within 3 m of the goal, SPL weighs it by the length of the way; distances go
    along the floor. Beside it stand agents that take any waypoint, that go straight ahead, and the
    same agent with the instructions of other episodes, which shows how much it heeds them.

    --data world draws episodes in procedural houses, --seed the first of them. An episode that
    cannot be walked is listed and does not count. --predictions scores the walks of such a
    submission without a model.

    Raises:
        ConfigError: the model does not navigate, or an unknown simulator.
        MissingExtraError: the extra "navigation" is not installed.
    """
    agent = agent_of(model)
    make = partial(
        make_environment, backend=backend, scenes=episodes.scenes, max_steps=max_steps,
        sensors=sensors_of(agent),
    )  # fmt: skip
    told = [each.instruction for each in episodes.episodes]
    of_others = [*told[len(told) // 2 :], *told[: len(told) // 2]]
    own_weights = {"weights": weights_sha256(agent)}
    ways: list[tuple[str, Walker, Sequence[str], dict[str, str]]]
    ways = [("", PolicyWalker(agent), told, own_weights)]
    if baselines:
        ways += [(name, kind(agent.config.most), told, {}) for name, kind in BASELINES.items()]
        ways += [(_MISLED, PolicyWalker(agent), of_others, own_weights)]
    walked = {
        name: _walk_all(
            walker, name, episodes, words, make, loop, identity={**identity, "max_steps": max_steps}
        )
        for name, walker, words, identity in ways
    }
    own = walked.pop("")
    if submission is not None and loop.is_first:
        poses = {each.answer.episode_id: each.answer.poses for each in own if each.answer}
        walks = {name: [(np.array(p[:3]), p[3]) for p in row] for name, row in poses.items()}
        write_leader_board(
            submission, walks, [e for e in episodes.episodes if e.episode_id in walks]
        )
    return NavigationReport(
        walks=tuple(each.answer for each in own if each.answer is not None),
        baselines={
            name: tuple(each.answer for each in rows if each.answer is not None)
            for name, rows in walked.items()
        },
        num_left_out=episodes.num_left_out,
        failures=failures_of(own),
        protocol=f"at most {max_steps} decisions, success within 3 m",
        model=model.name,
    )


def _walk_all(
    walker: Walker,
    name: str,
    episodes: EpisodeSource,
    instructions: Sequence[str],
    make: Callable[..., Any],
    loop: EvalLoop,
    *,
    identity: dict[str, Any],
) -> list[Answered[Walked]]:
    """Walk the episodes that are not in the file yet; return all."""
    if not len(episodes):
        raise DataError("there are no episodes to walk: the list is empty")
    header = {
        **identity, "num_videos": len(episodes),
        "first_video": episodes.key(0), "last_video": episodes.key(len(episodes) - 1),
    }  # fmt: skip
    file = f"predictions{'-' * bool(name)}{name.replace(' ', '-')}.jsonl"
    # An episode is known to the pool by its place: files may give two the same number.
    truth = {
        str(place): episodes.truth[each.episode_id]
        for place, each in enumerate(episodes.episodes)
        if each.episode_id in episodes.truth
    }

    def ask(left: list[int]) -> Iterator[Answered[Walked]]:
        placed = [
            replace(episodes.episodes[n], episode_id=str(n), instruction=instructions[n])
            for n in left
        ]
        ready = partial(make, placed[:1], truth=truth)
        for each in run_episodes(ready, placed, walker, workers=max(1, loop.num_workers)):
            place = int(each.episode.episode_id)
            walked = None if each.failure else Walked.of(episodes.episodes[place], each.info)
            yield Answered(place, episodes.key(place), walked, each.failure or "")

    return loop.collect(len(episodes), loop.prediction_file(file, header, _Walks()), ask)


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> NavigationReport:
    """Measure an agent in its training, in procedural houses."""
    return evaluate(model, EpisodeSource(episodes_of_world(source)), loop=loop, baselines=not quick)


def score(data: AnnotatedData, predictions: Path) -> NavigationReport:
    """Score walks in the layout of the leader board of R2R-CE.

    Raises:
        DataError: the episodes or the walks cannot be used, or do not belong together.
    """
    episodes = open_episodes(data)
    content = read_json(predictions)
    if not isinstance(content, dict):
        raise DataError(f"{predictions}: expected an object with the states of every episode")
    handed = cast("dict[str, Any]", content)
    backend = open_backend("rooms", scenes=episodes.scenes)
    walks, failures = list[Walked](), list[tuple[str, str]]()
    for place, episode in enumerate(episodes.episodes):
        if episode.episode_id not in handed:
            failures.append((episodes.key(place), "it is not in the file"))
            continue
        if episode.goal is None:
            raise DataError(f"episode {episode.episode_id} keeps its goal secret")
        try:
            states = handed[episode.episode_id]
            poses = [(*map(float, s["position"]), float(s["heading"])) for s in states]
            path = np.array([pose[:3] for pose in poses]).reshape(-1, 3)
            stopped = bool(states[-1]["stop"])
        except (KeyError, TypeError, ValueError, IndexError):
            raise DataError(
                f"{predictions}: episode {episode.episode_id} is no list of states with position, "
                "heading and stop"
            ) from None
        backend.load(episode.scene_id)
        goal = np.array(episode.goal)
        distances = [backend.geodesic(point, goal) for point in path]
        reference = episode.dense_reference(episodes.truth)
        moved = [path[0], *(b for a, b in itertools.pairwise(path) if (a != b).any())]
        values = measure_walk(
            path=np.stack(moved), distances=distances, stopped=stopped, reference=reference
        )
        walks.append(Walked(episode.episode_id, episode.scene_id, values, tuple(poses)))
    return NavigationReport(
        walks=tuple(walks), failures=tuple(failures), num_left_out=episodes.num_left_out,
        protocol="as handed in, success within 3 m",
    )  # fmt: skip
