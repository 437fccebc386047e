"""Temporal localisation: suppression of overlapping segments."""

from __future__ import annotations

import numpy as np
import torch

from golden.case import Case
from internvideo.evaluation import segment_nms
from internvideo.evaluation.segment_nms import SegmentNMS, select, vote
from internvideo.evaluation.segments import Segments


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


ADAPTERS = {"nms1d-fork": nms, "nms1d-release": nms}
