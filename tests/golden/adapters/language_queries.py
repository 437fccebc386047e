"""Language queries: rows and spans, and the official evaluation of submissions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.case import Case
from internvideo.evaluation.data import AnnotatedData
from internvideo.tasks.language_queries.evaluate import score
from internvideo.tasks.language_queries.metrics import mean_iou, recalls, span_ious
from internvideo.tasks.language_queries.queries import open_queries, queries_of
from internvideo.tasks.language_queries.spans import reduce_rows, spans_of_times, times_of_spans
from internvideo.tasks.language_queries.submission import read_submission


def data_utils(case: Case) -> None:
    tolerance = case.meta["tolerance"]
    for number, sampled in enumerate(case.meta["sampling_cases"]):
        rows = case.tensors[f"input.feat.{number}"]
        assert len(rows) == sampled["n"]
        reduced = reduce_rows(rows, sampled["max_num_clips"])
        torch.testing.assert_close(
            reduced, case.tensors[f"output.feat.{number}"], rtol=tolerance, atol=tolerance
        )
    for each in case.meta["time_index"]:
        num_rows, duration = each["num_units"], each["duration"]
        times = np.array([[each["start"], each["end"]]])
        [span] = spans_of_times(times, num_rows, duration)
        assert span.tolist() == [each["start_index"], each["end_index"]]
        back = times_of_spans(span, num_rows, duration)
        expected = [each["back_start"], each["back_end"]]
        assert back.tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def evaluation(case: Case) -> None:
    expected, exact = case.meta["expected"], {"rel": case.meta["tolerance"], "abs": 1e-12}
    with tempfile.TemporaryDirectory() as folder:
        truth, handed_in = Path(folder) / "truth.json", Path(folder) / "predictions.json"
        truth.write_text(json.dumps(case.meta["ground_truth"]))
        handed_in.write_text(json.dumps(case.meta["predictions"]))
        videos = open_queries(AnnotatedData(path=str(truth)))
        queries = [query for video in videos.videos for query in queries_of(video)]
        answers = read_submission(handed_in, queries)
        report = score(AnnotatedData(path=str(truth)), handed_in)
    ious = [span_ious(np.array(spans.times), query.times) for query, spans in answers.items()]
    found = recalls(ious, expected["thresholds"], expected["topk"])
    for threshold, row in zip(expected["thresholds"], expected["recall"], strict=True):
        for k, value in zip(expected["topk"], row, strict=True):
            assert found[k, threshold] == pytest.approx(value, **exact)
    assert mean_iou(ious) == pytest.approx(expected["mIoU"], **exact)
    numbers = report.metrics()
    assert numbers["miou"] == pytest.approx(100 * expected["mIoU"], **exact)
    if expected["thresholds"][:2] == [0.3, 0.5]:
        mean = expected.get("mean_recall_at_1")
        assert mean is None or numbers["mean_r1"] == pytest.approx(100 * mean, **exact)


ADAPTERS = {"nlq-data-utils": data_utils, "nlq-eval": evaluation}
