"""Temporal localisation: suppression of overlapping segments, detection mAP and recall, fusion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from golden.case import Case
from internvideo.evaluation import segment_nms
from internvideo.evaluation.segment_matching import SegmentTable
from internvideo.evaluation.segment_metrics import Ranking, recall_at_kx, without_repeats
from internvideo.evaluation.segment_nms import SegmentNMS, select, vote
from internvideo.evaluation.segments import Segments
from internvideo.tasks.moment_queries.baseline import detections, retrievals
from internvideo.tasks.moment_queries.submission import Answers, read_answers, write_answers
from internvideo.tasks.temporal_localization.external import fuse, read_external_scores


def _segments(case: Case) -> Segments:
    values = case.group("input.")
    return Segments(*(values[name].numpy() for name in ("segments", "scores", "labels")))


def nms(case: Case) -> None:
    found, votes = _segments(case), "score" if "fork" in case.family else "score-iou"
    close = {"rtol": 0.0, "atol": case.meta["tolerance"]["scores"]}
    # The reference votes in float32, which is off by more than 1e-5 of a bound of 100.
    wide = {name: case.meta["tolerance"]["segments"] for name in ("rtol", "atol")}

    def same(name: str, chosen: Segments) -> None:
        case.assert_close(torch.from_numpy(chosen.times), f"output.{name}.segments", **wide)
        case.assert_close(torch.from_numpy(chosen.scores), f"output.{name}.scores", **close)
        case.assert_close(torch.from_numpy(chosen.labels), f"output.{name}.labels", rtol=0, atol=0)

    soft = case.meta["op_soft"]
    decays = {
        "vanilla": segment_nms.suppressing(soft["iou_threshold"]),
        "linear": segment_nms.linear(soft["iou_threshold"]),
        "gaussian": segment_nms.gaussian(soft["sigma"]),
    }
    for name, decay in decays.items():
        kept = select(found.times, found.scores, decay, min_score=soft["min_score"])
        scores, places = zip(*kept, strict=True)
        dets = np.column_stack([found.times[list(places)], scores])
        case.assert_close(torch.tensor(places), f"output.op_soft_{name}.indices", atol=0)
        case.assert_close(torch.from_numpy(dets), f"output.op_soft_{name}.dets", **close)
    hard = segment_nms.suppressing(case.meta["op_hard"]["iou_threshold"])
    places = [place for _, place in select(found.times, found.scores, hard, min_score=1e-30)]
    case.assert_close(torch.tensor(places), "output.op_hard.indices", rtol=0, atol=0)
    for name, options in case.meta["cases"].items():
        suppress = SegmentNMS(
            method="gaussian" if options["use_soft_nms"] else "hard",
            per_class=options["multiclass"],
            sigma=options["sigma"],
            iou_threshold=options["iou_threshold"],
            min_score=options["min_score"],
            max_segments=options["max_seg_num"],
            voting=options["voting_thresh"],
            votes=votes,
        )
        same(name, suppress(found))
    for name in case.tensors:
        if name.startswith("output.voting_first"):
            number, _, threshold = name.removeprefix("output.voting_first").partition("_thr")
            moved = vote(
                found.times[: int(number)], found, float(threshold), by_overlap=votes != "score"
            )
            case.assert_close(torch.from_numpy(moved), name, **wide)


def _classes(database: dict[str, Any], key: str) -> dict[Any, int]:
    labels = [each[key] for video in database.values() for each in video["annotations"]]
    return {label: place for place, label in enumerate(dict.fromkeys(labels))}


def _tables(
    database: dict[str, Any],
    predictions: dict[str, list[dict[str, Any]]],
    classes: dict[Any, int],
    *,
    key: str,
    times: Callable[[dict[str, Any]], list[float]],
) -> tuple[SegmentTable, SegmentTable]:
    """Return the true segments and the predictions; those of unknown classes are left out."""

    def table(videos: dict[str, list[dict[str, Any]]], score: bool) -> SegmentTable:
        parts = []
        for name in [*database, *(predictions.keys() - database.keys())]:
            rows = [each for each in videos.get(name, ()) if each[key] in classes]
            spans = [each["segment"] if score else times(each) for each in rows]
            parts.append(
                Segments(
                    np.reshape(np.array(spans, np.float64), (-1, 2)),
                    np.array([each.get("score", 1.0) for each in rows]),
                    np.array([classes[each[key]] for each in rows], np.int64),
                )
            )
        return SegmentTable.of(parts)

    truth = {name: video["annotations"] for name, video in database.items()}
    return table(truth, False), table(predictions, True)


def _same_map(case: Case, ranking: Ranking, expected: dict[str, Any], classes: list[Any]) -> None:
    exact, values = {"rtol": 0.0, "atol": case.meta["tolerance"]}, ranking.average_precision()
    np.testing.assert_allclose(np.nanmean(values, axis=1), expected["mAP"], **exact)
    mean = expected.get("avg_mAP", expected.get("average_mAP"))
    np.testing.assert_allclose(np.nanmean(values), mean, **exact)
    held = expected.get("ap_per_class")
    if isinstance(held, dict):  # by name
        for name, wanted in held.items():
            np.testing.assert_allclose(values[:, classes.index(name)], wanted, **exact)
    elif held is not None:  # of each overlap, the classes by number
        order = np.argsort(classes, kind="stable")
        np.testing.assert_allclose(values[:, order], held, **exact)


def detection_map(case: Case) -> None:
    whole, exact = case.meta["ground_truth"]["database"], case.meta["tolerance"]
    database = {name: video for name, video in whole.items() if video["subset"] == "validation"}
    predictions = case.meta["predictions"]
    expected = case.meta["expected"]
    for reference, groups in expected.items():
        official = reference == "official_activitynet"
        key = "label" if official else "label_id"
        classes = _classes(database, key)
        truth, found = _tables(
            database, predictions, classes, key=key, times=lambda each: each["segment"]
        )
        if not official:
            release = reference == "upstream_release"
            truth = without_repeats(truth, min_length=1e-3 if release else 0.0)
        for name, group in {"": groups}.items() if official else groups.items():
            if name == "fused":
                continue
            ranking = Ranking(truth, found, group["tiou"], len(classes))
            _same_map(case, ranking, group, list(classes))
            if recall := group.get("recall_topkx"):
                values = recall_at_kx(
                    truth, found, group["tiou"], recall["topk"], rule="actionformer"
                )
                np.testing.assert_allclose(values, recall["value"], rtol=0, atol=exact)
        if not official and "fused" in groups:
            _fused(case, database, truth, groups, classes)


def _fused(
    case: Case,
    database: dict[str, Any],
    truth: SegmentTable,
    groups: dict[str, Any],
    classes: dict[Any, int],
) -> None:
    group, wanted = groups["fused"], groups["fused"]["results"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scores.json"
        path.write_text(json.dumps({"results": case.meta["external_classification_scores"]}))
        names = list(dict.fromkeys(wanted["video-id"]))
        number = len(np.ravel(next(iter(case.meta["external_classification_scores"].values()))))
        scores = read_external_scores(path, names, [str(place) for place in range(number)])
    parts = {}
    for name in names:
        rows = case.meta["predictions"][name]
        found = Segments(
            np.array([each["segment"] for each in rows]),
            np.array([each["score"] for each in rows]),
            np.zeros(len(rows), np.int64),
        )
        parts[name] = fuse(found, scores.of(name), most=group["num_pred"], top=group["topk"])
    joined, exact = Segments.joined(list(parts.values())), {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(joined.times[:, 0], wanted["t-start"], **exact)
    np.testing.assert_allclose(joined.times[:, 1], wanted["t-end"], **exact)
    np.testing.assert_allclose(joined.scores, wanted["score"], **exact)
    np.testing.assert_array_equal(joined.labels, wanted["label"])
    table = SegmentTable.of(parts.get(name, Segments.none()) for name in database)
    known = np.isin(table.segments.labels, list(classes))
    renamed = np.array([classes.get(label, 0) for label in table.segments.labels.tolist()])
    table = SegmentTable(
        table.videos, Segments(table.segments.times, table.segments.scores, renamed)
    )[known]
    tiou = groups["anet"]["tiou"]
    _same_map(case, Ranking(truth, table, tiou, len(classes)), group, list(classes))


def moment_queries(case: Case) -> None:
    whole, expected = case.meta["ground_truth"], case.meta["expected"]
    database = {name: clip for name, clip in whole.items() if clip["subset"] in "validation"}
    classes = _classes(database, "label")

    def tables(predictions: dict[str, Any]) -> tuple[SegmentTable, SegmentTable]:
        return _tables(
            database, predictions, classes, key="label",
            times=lambda each: [each["start_time"], each["end_time"]],
        )  # fmt: skip

    truth, found = tables(case.meta["detections"])
    group = expected["detection"]
    _same_map(case, Ranking(truth, found, group["tiou"], len(classes)), group, list(classes))
    group, exact = expected["retrieval"], case.meta["tolerance"]
    for name, wanted in {
        "retrievals": group["recall"], "detections": expected["retrieval_metric_on_detections"],
    }.items():  # fmt: skip
        values = recall_at_kx(*tables(case.meta[name]), group["tiou"], group["kx"])
        np.testing.assert_allclose(values, wanted, rtol=0, atol=exact)
    _post_processing(case, database)


def _post_processing(case: Case, database: dict[str, Any]) -> None:
    """Check what the official baseline makes of candidates, and that it is a submission."""
    numbers = case.meta["moment_classes_idx"]
    column = {name: place for place, name in enumerate(case.meta["raw_columns"])}
    first, last, score, label = (column[name] for name in ("xmin", "xmax", "score", "label"))
    detected, retrieved = [], []
    for name, clip in database.items():
        raw = np.reshape(np.array(case.meta["raw_proposals"][name], np.float64), (-1, len(column)))
        raw = raw[raw[:, label] != numbers["Background"]]
        labels = raw[:, label].astype(np.int64)
        candidates = Segments(raw[:, [first, last]], raw[:, score], labels)
        seconds = clip["parent_end_sec"] - clip["parent_start_sec"]
        asked = {numbers[each["label"]] for each in clip["annotations"]}
        detected.append(detections(candidates, seconds))
        retrieved.append(retrievals(candidates, asked, seconds))
    names = sorted(numbers, key=numbers.__getitem__)
    clips = list(database)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "submission.json"
        write_answers(path, clips, Answers.of(detected, retrieved), names)
        written = json.loads(path.read_text())
        answers = read_answers(path, clips, names)
    assert (written["version"], written["challenge"]) == ("1.0", "ego4d_moment_queries")
    for key, given in (("detect", "detections"), ("retrieve", "retrievals")):
        for clip in clips:
            ours, wanted = written[f"{key}_results"][clip], case.meta[given][clip]
            assert [each["label"] for each in ours] == [each["label"] for each in wanted]
            for field in ("score", "segment"):
                pair = ([each[field] for each in listed] for listed in (ours, wanted))
                np.testing.assert_allclose(*pair, rtol=0, atol=case.meta["tolerance"])
    assert len(answers.detected) == sum(map(len, detected))
    assert len(answers.retrieved) == sum(map(len, retrieved))


ADAPTERS = {
    "nms1d-fork": nms,
    "nms1d-release": nms,
    "tal-map": detection_map,
    "mq-eval": moment_queries,
}
