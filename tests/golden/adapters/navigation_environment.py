"""Navigation in continuous environments: metrics, and the teacher that probes candidates."""

from __future__ import annotations

import math

import numpy as np
import torch

from golden.case import Case
from internvideo.simulator.metrics import average, densify, dtw, measure
from internvideo.simulator.moves import PathTeacher, goal_teacher, walk


def metrics(case: Case) -> None:
    config = case.meta["config"]
    measured = []
    for episode in range(config["episodes"]):
        given = {k: v.numpy() for k, v in case.group(f"input.ep{episode}.").items()}
        dense = densify(given["gt"])
        case.assert_close(torch.from_numpy(dense), f"output.ep{episode}.gt_dense")
        values = measure(
            path=given["low"],
            distances=given["dist"].tolist(),
            stopped=bool(given["stop"]),
            collisions=given["coll"],
            reference=dense,
            success_distance=config["success_distance"],
            radius=config["fastdtw_radius"],
        )
        values["dtw_fast"] = dtw(given["low"], dense, radius=config["fastdtw_radius"])
        values["dtw_exact"] = dtw(given["low"], dense)
        cost = values["dtw_exact"] / (len(dense) * config["success_distance"])
        values["ndtw_exact"] = math.exp(-cost)
        values["gt_dense_len"] = float(len(dense))
        measured.append(values)
        for name in case.group(f"output.ep{episode}."):
            if name in values:
                actual = torch.tensor(values[name], dtype=torch.float64)
                case.assert_close(actual, f"output.ep{episode}.{name}")
    mean = average(measured)
    for name in case.group("output.mean."):
        case.assert_close(torch.tensor(mean[name], dtype=torch.float64), f"output.mean.{name}")


class FreeSquare:
    """The toy simulator of the fixtures: steps that would leave a square are refused."""

    def __init__(self, half: float) -> None:
        self.half = half

    def forward(self, position, yaw, distance):
        ahead = position + np.array([-math.sin(yaw), 0.0, -math.cos(yaw)]) * distance
        if max(abs(ahead[0]), abs(ahead[2])) > self.half:
            return position, True
        return ahead, False

    def geodesic(self, start, end):
        return float(np.linalg.norm(start - end))


def teacher(case: Case) -> None:
    config = case.meta["config"]
    square = FreeSquare(config["free_square_half_size"])

    def check(value, name: str) -> None:
        case.assert_close(torch.as_tensor(np.asarray(value)), name)

    for number in sorted({name.split(".")[0] for name in case.group("input.")}):
        given = {k: v.numpy() for k, v in case.group(f"input.{number}.").items()}
        position, yaw, goal = given["position"], float(given["yaw"]), given["goal"]
        angles, distances = given["cand_angles_ccw"].tolist(), given["cand_distances"].tolist()
        candidates = list(zip(angles, distances, strict=True))
        chosen, ends = goal_teacher(square, position, yaw, candidates, goal)
        follower = PathTeacher(given["ref_path"])
        check(ends, f"output.{number}.cand_dist_to_goal")
        check(square.geodesic(position, goal), f"output.{number}.current_dist")
        check(chosen, f"output.{number}.r2r_teacher")
        on_path = follower.choose(square, position, yaw, candidates, goal)
        check(on_path, f"output.{number}.rxr_teacher")
        check(follower.progress / len(follower.reference), f"output.{number}.rxr_progress")
        went = walk(square, position, yaw, *candidates[0], turn_degrees=config["turn_deg"])
        check(np.stack(went.steps), f"output.{number}.hl_positions")
        check(went.collisions, f"output.{number}.hl_collisions")
        check(np.stack([each for each, _ in went.poses]), f"output.{number}.hl_state_positions")
        turned = np.array([each for _, each in went.poses])
        expected = case.tensors[f"output.{number}.hl_state_yaws"].numpy()
        apart = np.remainder(turned - expected + math.pi, 2 * math.pi) - math.pi
        np.testing.assert_allclose(apart, 0, atol=case.tolerance()["atol"])


ADAPTERS = {"vln-metrics": metrics, "vln-teacher": teacher}
