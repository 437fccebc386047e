"""Question answering: what a model answers to questions about videos, chosen or written.

task, open_ended     what is trained: a classifier of answers; a decoder that writes them
asking               how a model answers; evaluate, report: how often it is right
predict, answers     a user's question about videos, and the answer
"""

from __future__ import annotations

from internvideo.tasks.question_answering import evaluate, open_ended, predict, task
from internvideo.tasks.question_answering.asking import DEFAULT_MODEL
from internvideo.tasks.task import Objective, Task

__all__ = ["TASK"]

TASK = Task(
    name="question-answering",
    verb="answer",
    objectives=(
        Objective(
            config=task.QuestionAnsweringConfig,
            models=("internvideo-mm/question-answering",),
            build=task.build,
            labelled=True,
            measure=evaluate.measure,
        ),
        Objective(
            config=open_ended.OpenAnsweringConfig,
            models=("internvideo-mm",),
            build=open_ended.build,
            measure=evaluate.measure,
        ),
    ),
    open=evaluate.open_questions,
    evaluate=evaluate.evaluate,
    evaluate_examples=(
        "qa-nano --data world",
        "runs/mine/model -d msrvtt_qa_test.jsonl --root videos/all --out results/",
        "msrvtt.ckpt -d msrvtt_qa_test.jsonl --root videos --labels msrvtt_train_ans2label.json",
    ),
    predict=predict.predict,
    predict_examples=(
        'clip.mp4 "what color is the star?"',
        'clips/ "what does the red object do?" --json > answers.jsonl',
        'clip.mp4 "who is singing?" -m runs/mine/model -k 3',
    ),
    default_model=DEFAULT_MODEL,
)
