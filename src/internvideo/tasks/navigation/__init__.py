"""Vision-language navigation: an agent in a house is told in words where to go.

losses        what agents are trained by
walkers       agents, and what they are measured beside
houses_source episodes as a source; task: training in procedural houses
evaluate      how well agents do; report: beside those that do not read
journey       one walk as map, video, plot and JSON

Houses, episodes, the environment and the metrics of a walk are those of `internvideo.simulator`.
"""

from __future__ import annotations

from internvideo.tasks.navigation import evaluate, task
from internvideo.tasks.navigation.houses_source import open_episodes
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="navigation",
    objectives=(
        Objective(
            config=task.NavigationConfig,
            models=("navigation/navigator",),
            build=task.build,
            clips=task.walked_houses,
            measure=evaluate.measure,
        ),
    ),
    open=open_episodes,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "navigator-nano -d world --num-clips 100",
        "runs/agent -d val_unseen.json.gz --root scene_datasets --submission walks.json",
        "--predictions walks.json -d val_unseen.json.gz --root scene_datasets",
    ),
)
