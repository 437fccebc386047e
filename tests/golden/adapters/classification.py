"""Merging the views of a video, and of several runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from golden.case import Case
from internvideo.tasks.recognition.merge import ViewLogits, accuracy_percent, merge_views


def _run(case: Case, name: str) -> tuple[ViewLogits, Tensor]:
    """Return the rows of a run in the order in which the reference reads them, and the labels."""
    columns = case.group(f"input.{name}.")
    order = columns.pop("rank").sort(stable=True).indices  # the file of rank 0 is read first
    columns = {key: value[order] for key, value in columns.items()}
    label = columns.pop("label")
    labels = torch.zeros(int(columns["video"].max()) + 1, dtype=torch.long)
    labels[columns["video"]] = label
    return ViewLogits(**columns), labels


def check_merge_views(case: Case) -> None:
    config, results = case.meta["config"], case.meta["results_percent_top1_top5"]
    runs = [_run(case, f"run{number}") for number in range(config["runs"])]
    members = {f"run{number}": [run] for number, (run, _) in enumerate(runs)}
    members["ensemble"] = [run for run, _ in runs]
    tolerance = float(case.meta["tolerance"])
    for name, pooled in members.items():
        for rule, use_softmax in (("prob", True), ("score", False)):
            merged = merge_views(pooled, use_softmax=use_softmax)
            assert len(merged.video) == config["num_videos"]
            assert (merged.num_views == len(pooled) * config["clips"] * config["crops"]).all()
            labels = runs[0][1][merged.video]
            found = [accuracy_percent(merged.scores, labels, top=top) for top in (1, 5)]
            assert found == pytest.approx(results[f"{name}.{rule}"], abs=tolerance)
            stored = case.tensors[f"output.{name}.{rule}"].tolist()
            assert found == pytest.approx(stored, abs=tolerance)


ADAPTERS = {"videomae-merge-views": check_merge_views}
