"""Every data set of the paper: its reader and its metric, on a small set that the world writes."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from internvideo.cli.application import run
from internvideo.data import write_world
from internvideo.data.feature_videos import AnnotatedVideos, read_videos
from internvideo.formats import FORMATS, WRITABLE
from internvideo.formats.ego4d_nlq import split_query_id
from internvideo.formats.ego4d_sta import write_results
from internvideo.recipe import list_recipes
from internvideo.simulator.embedded import EmbeddedBackend
from internvideo.simulator.episodes import write_episodes, write_leader_board
from internvideo.simulator.moves import follow
from internvideo.tasks.hand_prediction.metric import targets_of
from internvideo.tasks.registry import find_task
from internvideo.world import ACTIONS, HELD_OUT_ACTIONS, World, action_template
from internvideo.zoo import list_models, load_model, save_pretrained
from tasks.navigation.small_agent import small_episodes

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "real"

_SPEC = importlib.util.spec_from_file_location("make_datasets", ROOT / "docs" / "datasets.py")
assert _SPEC is not None
assert _SPEC.loader is not None
make_datasets = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_datasets)

GROUPS = make_datasets.read_groups()
ROWS = [
    pytest.param(group, row, id=f"{group['verb']}-{row['name'].replace(' ', '-')}")
    for group in GROUPS
    for row in group["rows"]
    if row["recipe"]
]


def test_the_page_is_made_of_the_table():
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert page == make_datasets.page(GROUPS), "python docs/datasets.py makes it anew"
    names = {(group["task"], row["name"]) for group in GROUPS for row in group["rows"]}
    assert len(names) == sum(len(group["rows"]) for group in GROUPS) == 40


@pytest.mark.parametrize(("group", "row"), ROWS)
def test_what_a_row_names_is_there(group, row):
    assert find_task(group["verb"]).evaluate or find_task(group["verb"]).score
    assert row["recipe"] in list_recipes()
    readers = {each.name for each in FORMATS} | {"r2r-ce"}  # episodes, which are no videos
    assert set(row["reader"].split(", ")) <= readers
    model = row["evaluate"].split()[0]
    assert model in list_models() or model.startswith("runs/")


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/real is absent")
@pytest.mark.parametrize(
    ("reader", "line"),
    sorted({(row["reader"], row["real"]) for g in GROUPS for row in g["rows"] if row.get("real")}),
)
def test_real_annotations_are_read(reader, line):
    found = annotations(line, REAL, kind=reader)
    assert len(found.videos) > 1


def annotations(line: str, folder: Path, kind: str | None = None) -> AnnotatedVideos:
    """Read the annotations that a command line names."""
    words = line.split()
    value = dict(pairwise(words))
    return read_videos(
        folder / value["-d"],
        kind=value.get("-f", kind),
        split=value.get("--split"),
        labels=folder / value["-l"] if "-l" in value else None,
        root=str(folder / value["--root"]) if "--root" in value else None,
    )


# --- every row on a set that the world writes ----------------------------------------------------

_UNKNOWN = tuple(HELD_OUT_ACTIONS)
_KNOWN = tuple(action for action in ACTIONS if action not in _UNKNOWN)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[..., Path]:
    """Write the world, or some of its actions, in a format, once; return the folder."""
    root = tmp_path_factory.mktemp("sets")

    def write(kind: str, actions: tuple[str, ...] | None = None) -> Path:
        folder = root / f"{kind}-{len(actions or ACTIONS)}"
        if not folder.exists():
            layout = WRITABLE[kind].layout
            assert layout is not None
            boxes = layout.untrimmed or layout.key_frames
            write_world(
                folder, 4 if layout.untrimmed else 60, kind=kind, captions=2,
                world=World(seed=5, size=16 if boxes else 32, actions=actions),
                splits=[1 / len(layout.splits)] * len(layout.splits),
            )  # fmt: skip
        return folder

    return write


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Callable[[AnnotatedVideos], Path]:
    """Save videomae-nano with the classes of some annotations, in their order and spelling."""
    loaded = load_model("videomae-nano")

    def spellings(action: str) -> tuple[str, ...]:
        words, sentence = action.split(), re.sub(r"\[(\w+)\]", r"\1", action_template(action))
        return action, "_".join(words), "".join(map(str.capitalize, words)), sentence

    def save(found: AnnotatedVideos) -> Path:
        names = found.class_names or ACTIONS
        known = {each: row for row, action in enumerate(ACTIONS) for each in spellings(action)}
        model = copy.deepcopy(loaded.model)
        rows = torch.tensor([known[name] for name in names])
        model.head.weight = torch.nn.Parameter(model.head.weight[rows])
        model.head.bias = torch.nn.Parameter(model.head.bias[rows])
        model.head.out_features = len(names)
        model.config = replace(model.config, num_classes=len(names))
        folder = tmp_path_factory.mktemp("models") / "model"
        save_pretrained(model, folder, preprocessing=loaded.preprocessing, labels=tuple(names))
        return folder

    return save


def submission(verb: str, found: AnnotatedVideos, late: float, path: Path) -> Path:
    """Write what an annotator would hand in, so many seconds (or pictures) beside the truth."""
    names = found.class_names or ()
    content: object
    if verb in ("temporal-localization", "moment-queries"):
        rows = {
            video.id: [
                {"label": names[s.label or 0], "score": 1.0,
                 "segment": [s.start + late, (s.end or 0.0) + late]}
                for s in video.segments
            ]
            for video in found.videos
        }  # fmt: skip
        content = {"version": "VERSION 1.3", "results": rows}
        if verb == "moment-queries":
            content = {
                "version": "1.0", "challenge": "ego4d_moment_queries",
                "detect_results": rows, "retrieve_results": rows,
            }  # fmt: skip
    elif verb == "language-queries":
        answers = []
        for video in found.videos:
            for each in video.segments:
                annotation, number = split_query_id(each.id)
                answers.append({
                    "clip_uid": video.id, "annotation_uid": annotation, "query_idx": number,
                    "predicted_times": [[each.start + late, (each.end or 0.0) + late]],
                })  # fmt: skip
        content = {"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": answers}
    elif verb == "state-change":
        content = []
        for video in found.videos:
            width, height = video.size or (1, 1)
            content += [
                {"image_id": int(video.id), "category_id": 1, "score": 1.0, "bbox": [
                    (box.box[0] + late) * width, box.box[1] * height,
                    (box.box[2] - box.box[0]) * width, (box.box[3] - box.box[1]) * height,
                ]}
                for box in video.boxes
            ]  # fmt: skip
    elif verb == "hand-prediction":
        moved = {video.id: targets_of(video) + late for video in found.videos}
        content = {name: places.tolist() for name, places in moved.items()}
    elif verb == "anticipation":
        moved = {
            video.id: [
                replace(each, box=(left + late, top, right + late, bottom))
                for each in video.contacts
                for left, top, right, bottom in [each.box]
            ]
            for video in found.videos
        }
        write_results(path, moved)
        return path
    else:
        assert verb == "action-detection"
        lines = [
            f"{video.id},{round(each.time + video.offset):04d},"
            f"{','.join(str(side + late) for side in each.box)},{label + 1},1.0"
            for video in found.videos
            for each in video.boxes
            for label in each.labels
        ]
        path = path.with_suffix(".csv")
        path.write_text("\n".join(lines) + "\n")
        return path
    path.write_text(json.dumps(content))
    return path


def write_walks(folder: Path) -> None:
    """Write episodes, and what two would hand in: who walks as is told, and who stays."""
    backend, walked, stayed = EmbeddedBackend(), {}, {}
    for each in small_episodes():
        backend.load(each.scene_id)
        truth = follow(backend, each)
        walked[each.episode_id] = [(place, 0.0) for place in truth.locations]
        stayed[each.episode_id] = walked[each.episode_id][:1]
    write_episodes(folder / "val_unseen.json.gz", small_episodes())
    write_leader_board(folder / "walked.json", walked, small_episodes())
    write_leader_board(folder / "stayed.json", stayed, small_episodes())


EMBEDDED = {
    "zero-shot": ("viclip-nano", ("top1",), 25),
    "retrieval": ("viclip-nano", ("text_to_video", "plain", "R1"), 40),
    "multiple-choice": ("viclip-nano", ("accuracy",), 60),
    "question-answering": ("qa-nano", ("accuracy",), 45),
}
"""A model of the package, the number of the table, and what it reaches at least; no guess does."""

HEADLINES = {
    "language-queries": "r1_iou0.3", "state-change": "AP", "anticipation": "all",
    "hand-prediction": "left_mean",
}  # fmt: skip


def measured(line: str, folder: Path, capsys, *more: object) -> dict:
    """Run the command of a row in the folder of its set; return the report."""
    words = [str(folder / word) if (folder / word).exists() else word for word in line.split()]
    capsys.readouterr()
    code = run(["evaluate", *words, *map(str, more), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


SAMPLES = {
    (group["verb"], row["sample"]["evaluate"], row["sample"]["written"]): pytest.param(
        group["verb"], row["sample"], id=f"{group['verb']}-{row['name'].replace(' ', '-')}"
    )
    for group in reversed(GROUPS)
    for row in reversed(group["rows"])
    if row["sample"]
}
"""What is run once for all rows that it stands in."""


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "sample"), [*reversed(SAMPLES.values())])
def test_a_row_is_measured_on_the_world(verb, sample, written, classifier, tmp_path, capsys):
    line = sample["evaluate"]
    if verb == "navigation":
        write_walks(tmp_path)
        for handed, success in (("walked.json", 100), ("stayed.json", 0)):
            report = measured(f"{verb} --predictions {tmp_path / handed} {line}", tmp_path, capsys)
            assert report["SR"] == success
            assert report["num_episodes"] == len(small_episodes())
        return
    if "unknown" in sample:
        folder, others = written(sample["written"], _KNOWN), written(sample["unknown"], _UNKNOWN)
        known, _, unknown = line.partition(" --unknown ")
        words = [str(others / w) if (others / w).exists() else w for w in unknown.split()]
        report = measured(
            f"{verb} {classifier(annotations(known, folder))} {known}", folder, capsys,
            "--unknown", *words, "--score", "softmax", "--training", folder / "trainlist01.txt",
        )  # fmt: skip
        assert report["auroc"] > 75
        return
    folder = written(sample["written"])
    if verb in EMBEDDED:
        model, keys, least = EMBEDDED[verb]
        found = measured(f"{verb} {model} {line}", folder, capsys)
        for key in keys:
            found = found[key]
        assert found > least
    elif verb == "recognition":
        found = annotations(line, folder)
        report = measured(f"{verb} {classifier(found)} {line}", folder, capsys)
        whole = (
            "-f hacs" not in line and sample["written"] == "activitynet"
        )  # minutes, many actions
        assert report["top1"] > (-1 if whole else 60)
        assert report["num_videos"] == sum(len(v.segments) or 1 for v in found.videos) > 15
    else:
        found = annotations(line, folder)
        key = HEADLINES.get(verb, "mAP")
        numbers = []
        for late in (0.0, 100.0):
            handed = submission(verb, found, late, tmp_path / f"{late}.json")
            numbers.append(measured(f"{verb} --predictions {handed} {line}", folder, capsys)[key])
        if verb == "hand-prediction":  # a distance: of x and y
            assert numbers == pytest.approx([0, 100 * math.sqrt(2)], abs=0.01)
            return
        assert numbers[0] > 99.9
        assert numbers[1] < 2
