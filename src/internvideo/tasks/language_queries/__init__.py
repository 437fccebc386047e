"""Language queries: when in an untrimmed video is what a sentence asks for.

queries      sentences and the parts of videos that they ask for; submission: answers as files
reading      how a model reads sentences
spans        between seconds and rows of features; losses, and the likeliest spans
task, clips  training a VSLNet on features
finding      how a trained model, or similarity alone, finds spans
evaluate     how well: metrics, report; predict: in a user's videos, answer
"""

from __future__ import annotations

from internvideo.tasks.language_queries import evaluate, predict, task
from internvideo.tasks.task import PLOT, Objective, Shortcut, Task

__all__ = ["TASK"]

TASK = Task(
    name="language-queries",
    objectives=(
        Objective(
            config=task.SpanConfig,
            models=("vslnet",),
            build=task.build,
            clips=task.query_clips,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_queries,
    evaluate=evaluate.evaluate,
    score=evaluate.score,
    evaluate_examples=(
        "runs/nlq/best -d nlq_val.json --features features/ --submission answers.json",
        "viclip-nano -d queries.json --features features/",
        "--predictions answers.json -d nlq_val.json",
    ),
    predict=predict.predict,
    predict_examples=('kitchen.mp4 -q "where did I put the knife?" -m runs/nlq/best',),
    default_model=predict.DEFAULT_FINDER,
    files=(PLOT,),
    shortcut=Shortcut(
        "query",
        option="query",
        help="What to look for.",
        examples=(
            'film.mp4 "when does the red square vanish?"',
            'film.mp4 "a dog runs" --plot when.png',
        ),
    ),
)
