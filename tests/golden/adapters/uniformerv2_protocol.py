"""UniFormerV2's training and test: learning rate, and the answer of many views."""

from __future__ import annotations

import pytest
import torch

from golden.case import Case
from internvideo.tasks.recognition.merge import ViewLogits, accuracy_percent, merge_views
from internvideo.train.schedules import epoch_cosine


def check_lr_cosine(case: Case) -> None:
    config = case.meta["config"]
    assert config["COSINE_AFTER_WARMUP"]
    for number, run in enumerate(config["cases"]):
        rates = [
            epoch_cosine(
                epoch,
                run["MAX_EPOCH"],
                run["WARMUP_EPOCHS"],
                peak=run["BASE_LR"],
                final=config["COSINE_END_LR"],
                start=config["WARMUP_START_LR"],
            )
            for epoch in case.tensors[f"input.epoch.{number}"].tolist()
        ]
        case.assert_close(torch.tensor(rates, dtype=torch.float64), f"output.lr.{number}")


def check_multiview(case: Case) -> None:
    config, logits = case.meta["config"], case.tensors["input.logits"]
    views = config["views_per_video"]
    row = torch.arange(len(logits))
    rows = ViewLogits(
        logits=logits, video=row // views, clip=row % views // 3, crop=row % views % 3
    )
    labels = case.tensors["input.labels"]
    for rule, use_softmax in (("", True), ("_no_softmax", False)):
        merged = merge_views(rows, use_softmax=use_softmax)
        assert len(merged.video) == config["num_videos"]
        for top in (1, 5):
            expected = float(case.tensors[f"output.top{top}{rule}"])
            found = accuracy_percent(merged.scores, labels, top=top)
            assert found == pytest.approx(expected, abs=1e-4)
        if use_softmax:  # the reference sums where we average
            case.assert_close(merged.scores * views, "output.video_scores")


ADAPTERS = {
    "uniformerv2-lr-cosine": check_lr_cosine,
    "uniformerv2-multiview": check_multiview,
}
