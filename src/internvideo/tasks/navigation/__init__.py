"""Vision-language navigation: an agent in a house is told in words where to go.

episodes      files of R2R-CE and RxR-CE, read, written and checked; instructions: episodes in
              houses from a seed, told from the true path
environment   walking them, by Gymnasium; moves: from high-level actions to steps, and teachers
pool          walking many in several processes, which may crash
graphs        the discrete way to move: viewpoints of Room-to-Room, and metrics on them
drawing       a map of a walk
metrics       TL, NE, OS, SR, SPL, nDTW, SDTW, CLS
losses        what agents are trained by
candidates    where an agent can go by what it sees; walkers: agents, and what they are measured by
houses_source episodes as a source; task: training in procedural houses
evaluate      how well agents do; report: beside those that do not read
journey       one walk as map, video, plot and JSON
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
