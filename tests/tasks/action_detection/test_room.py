"""Key frames are read, learnt from, measured, and answered about, on videos of the world."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from internvideo.annotations import ActorBox
from internvideo.data.build import read_list
from internvideo.data.check import check_list
from internvideo.data.key_frames import frames_around, open_key_frames
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.recipe import load_recipe
from internvideo.recipe.run import run_recipe
from internvideo.tasks.action_detection.evaluate import (
    evaluate,
    open_boxes,
    result_rows,
    score,
    true_rows,
)
from internvideo.tasks.action_detection.finding import ActorActions
from internvideo.tasks.action_detection.metric import frame_ap
from internvideo.tasks.action_detection.task import ActionDetection, DetectionConfig, pixel_boxes
from internvideo.video import Video, write_video
from internvideo.video.frames import FramesInMemory
from internvideo.zoo import load_model
from tasks.action_detection.conftest import PROTOCOL

# --- frames -------------------------------------------------------------------------------------


def numbered(count, fps=4.0):
    frames = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 4, 6, 3)
    return FramesInMemory(frames.contiguous(), fps=fps)


def seen(*args, **options):
    return frames_around(*args, **options)[:, 0, 0, 0].tolist()


def test_the_frames_around_a_key_frame():
    assert seen(numbered(40), 5.0, PROTOCOL) == [16, 18, 20, 22]
    assert seen(numbered(40), 0.5, PROTOCOL) == [0, 0, 2, 3]  # one side is short, so both are
    assert seen(numbered(40), 0.0, PROTOCOL) == [0, 0, 0, 0]
    assert seen(numbered(3), 0.25, PROTOCOL) == [0, 0, 1, 1]  # shorter than the clip
    assert seen(numbered(40), 5.0, PROTOCOL, duration=10.0) == [16, 18, 20, 22]
    stretched = seen(numbered(40), 0.5, PROTOCOL, duration=10.0)  # frames 0 and 1 become four
    assert stretched == [0, 0, 2, 4]
    with pytest.raises(VideoError, match=r"m,0902 is at 902 s, but the video is over after 10 s"):
        frames_around(numbered(40), 902.0, PROTOCOL, name="m,0902")


def test_files_of_one_second_are_read_across_their_ends(tmp_path):
    for second in (901, 902):
        grey = 40 * (second - 900) + 8 * torch.arange(4, dtype=torch.uint8)
        frames = grey[:, None, None, None].expand(4, 16, 16, 3).contiguous()
        write_video(tmp_path / "m" / f"{second}.mp4", frames, fps=4, quality=0)
    (tmp_path / "a.csv").write_text("m,0902,0.1,0.1,0.6,0.6,1,0\nm,0905,0.1,0.1,0.6,0.6,1,0\n")
    source = open_key_frames(tmp_path / "a.csv", PROTOCOL)
    clip = source.clip(0)[:, 8, 8, 0].tolist()
    assert clip == pytest.approx([40, 56, 80, 96], abs=3)
    with pytest.raises(VideoError, match="no videos of the seconds 904 and 905"):
        source.clip(1)


def test_missing_videos_are_counted_and_left_out(world, detector, tmp_path, caplog):
    shutil.copytree(world.folder, tmp_path / "copy")
    source = open_key_frames(tmp_path / "copy" / "ava_val.csv", PROTOCOL)
    gone = source.path(source.frames[0].video)
    number = sum(source.path(each.video) == gone for each in source.frames)
    (tmp_path / "copy" / "videos" / gone.rpartition("/")[2]).unlink()
    left = open_key_frames(tmp_path / "copy" / "ava_val.csv", PROTOCOL)
    [(path, count)] = left.missing.items()
    assert (path.rpartition("/")[2], count) == (gone.rpartition("/")[2], number)
    assert len(left) == len(source) - number
    assert "1 of 2 videos are missing" in caplog.text
    report = evaluate(detector, left, loop=EvalLoop(num_workers=0))
    assert any(path in note and f"{number} key frames" in note for note in report.notes())
    assert report.measured.num_true.sum() == sum(len(f.boxes) for f in source.frames)
    with pytest.raises(DataError, match="none of its videos are there"):
        open_key_frames(world.val, PROTOCOL, root=str(tmp_path))


def test_a_list_of_boxes_needs_no_labels_of_whole_videos(world):
    clips = read_list("ava", world.train)
    assert not check_list(clips, every=0).problems


# --- training -----------------------------------------------------------------------------------


def test_boxes_outside_of_the_picture_are_no_boxes():
    boxes = tuple(
        ActorBox(time=0.0, box=box)
        for box in [(0.5, 0.5, 1.4, 0.9), (1.1, 0.1, 1.4, 0.5), (-0.5, 0.0, 0.5, 1.0)]
    )
    sides, kept = pixel_boxes(boxes, (100, 50))
    assert kept == [0, 2]
    torch.testing.assert_close(sides, torch.tensor([[50.0, 25, 99, 44], [0, 0, 49, 49]]))


def test_a_step_learns_from_all_boxes_and_from_none(world, detector):
    source = open_key_frames(world.train, PROTOCOL)
    task = ActionDetection(detector.model, PROTOCOL, DetectionConfig(max_boxes=3))
    rng = np.random.default_rng(0)
    rows = [task.prepare(source.read(index, rng), rng)[0] for index in range(4)]
    for row, frame in zip(rows, source.frames, strict=False):
        count = int(row["host_boxes"])
        assert count == len(frame.boxes)
        assert row["labels"][:count].sum() == sum(len(each.labels) for each in frame.boxes)
        assert (row["boxes"][:count, 2:] > row["boxes"][:count, :2]).all()
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    loss = task.training_loss(batch)
    loss["loss"].backward()
    assert loss["of_a_box"] == pytest.approx(
        float(loss["loss"].detach()) / int(batch["host_boxes"].sum())
    )
    batch["host_boxes"].zero_()
    nothing = task.training_loss(batch)["loss"]
    nothing.backward()
    assert nothing == 0
    detector.model.zero_grad()


def test_other_samples_are_refused(world, detector):
    from internvideo.data.samples import Sample

    task = ActionDetection(detector.model, PROTOCOL, DetectionConfig())
    with pytest.raises(ConfigError, match="key frames with boxes"):
        task.prepare(Sample(np.zeros((4, 8, 8, 3), np.uint8)), np.random.default_rng(0))


def test_a_recipe_trains_and_is_measured(world, tmp_path):
    recipe = load_recipe(
        "world_action-detector-nano",
        [
            "init=null", "model.image_size=32", "model.width=16", "model.num_heads=2",
            "model.depth=1", "model.patch_size=16", "model.roi_stride=16",
            "model.stem.channels=[4,4]", "model.stem.strides=[2,2]", "preprocessing.num_frames=16",
            "preprocessing.resize_size=32", "preprocessing.crop_size=32",
            f"data.annotations={world.train}", f"evaluation.data.annotations={world.val}",
            "runtime.batch_size=4", "runtime.num_workers=0", "schedule.steps=2",
            "evaluation.every_epochs=1", "evaluation.final_views=true",
        ],
    )  # fmt: skip
    model = run_recipe(recipe, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["mAP"] >= 0
    assert "mAP_of_class_frequencies" in report
    assert (model / "model.safetensors").is_file()


# --- measuring ----------------------------------------------------------------------------------


def test_an_evaluation_is_that_of_its_result_file(world, detector, tmp_path):
    source = open_boxes(AnnotatedData(path=str(world.val)), PROTOCOL)
    result = tmp_path / "result.csv"
    loop = EvalLoop(num_workers=0, directory=tmp_path / "out")
    report = evaluate(detector, source, loop=loop, result=result)
    again = score(AnnotatedData(path=str(world.val)), result)
    assert report.metrics() == again.metrics()
    assert report.num_answered == len(source)
    assert 0 < report.metrics()["mAP_of_class_frequencies"] < 100
    table = report.details(complete=True)
    assert table is not None
    assert table.row_count == (report.measured.num_true > 0).sum()
    # from what was written, without the model
    assert evaluate(detector, source, loop=loop).metrics() == report.metrics()


def test_the_truth_is_perfect_and_boxes_of_a_detector_are_scored_by_it(world, detector, tmp_path):
    source = open_boxes(AnnotatedData(path=str(world.val)), PROTOCOL)
    answers = []
    for frame in source.frames:
        scores = torch.zeros(len(frame.boxes), 28)
        for row, box in enumerate(frame.boxes):
            scores[row, list(box.labels)] = 1.0
        answers.append(ActorActions(frame.boxes, scores))
    rows = result_rows([frame.name for frame in source.frames], answers)
    assert frame_ap(true_rows(source.annotated), rows, range(1, 29)).mean == 1.0
    movie, _, stamp = source.frames[0].name.partition(",")
    persons = [
        {"image_id": f"{movie}_{stamp}", "bbox": [0.1, 0.1, 0.5, 0.5], "score": score}
        for score in (0.9, 0.5)
    ]
    (tmp_path / "persons.json").write_text(json.dumps(persons))
    report = evaluate(
        detector, source, loop=EvalLoop(num_workers=0), persons=tmp_path / "persons.json"
    )
    assert report.num_answered == 1
    assert report.measured.num_found.sum() == 28
    assert "boxes of persons.json" in report.protocol


def test_answers_do_not_depend_on_the_batch(world, detector):
    source = open_boxes(AnnotatedData(path=str(world.val)), PROTOCOL)
    one, many = (
        evaluate(detector, source, loop=EvalLoop(num_workers=0, batch_size=size)).measured
        for size in (1, 16)
    )
    np.testing.assert_allclose(one.average_precision, many.average_precision, atol=1e-6)


def test_other_models_and_other_classes_are_refused(world, detector, tmp_path):
    source = open_boxes(AnnotatedData(path=str(world.val)), PROTOCOL)
    other = replace(source.annotated, class_names=("a", "b"))
    source.annotated = other
    with pytest.raises(ConfigError, match=r"knows 28 actions, .* has 2"):
        evaluate(detector, source, loop=EvalLoop(num_workers=0))
    plain = load_model("videomae-nano")
    with pytest.raises(ConfigError, match="does not tell what is done in boxes"):
        evaluate(plain, source, loop=EvalLoop(num_workers=0))
    with pytest.raises(ConfigError, match="internvideo world --format ava"):
        open_boxes(AnnotatedData(path="world"), PROTOCOL)


def test_videos_are_as_they_were_written(world):
    source = open_key_frames(world.train, PROTOCOL)
    with Video(source.path(0)) as video:
        time = source.frames[0].time
        middle = video.frames([round(time * video.fps)])
    clip = source.clip(0)
    assert clip.shape == (4, 32, 32, 3)
    assert torch.equal(clip[2], middle[0])
