"""What a user asks: boxes from a file or a detector, tracks, a video that is drawn on."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from internvideo.annotations import ActorBox
from internvideo.cli import application
from internvideo.errors import CheckpointError, ConfigError, VideoError
from internvideo.tasks.action_detection import persons
from internvideo.tasks.action_detection.answer import Detection, Tracker, iou
from internvideo.tasks.action_detection.drawing import annotate_picture, shown_at
from internvideo.tasks.action_detection.persons import PersonDetector, load_person_detector
from internvideo.tasks.action_detection.predict import predict
from internvideo.video import Video, write_video
from internvideo.zoo import save_pretrained
from tasks.action_detection.conftest import PROTOCOL


def boxes_at(time, *boxes):
    return tuple(ActorBox(time=time, box=box) for box in boxes)


LEFT, NEAR_LEFT, RIGHT = (0.0, 0.0, 0.4, 0.8), (0.05, 0.0, 0.45, 0.8), (0.6, 0.1, 1.0, 0.9)


def test_overlapping_boxes_are_one_person():
    tracker = Tracker()
    assert tracker.link(boxes_at(1.0, LEFT, RIGHT)) == [0, 1]
    assert tracker.link(boxes_at(2.0, RIGHT, NEAR_LEFT)) == [1, 0]
    assert tracker.link(()) == []
    assert tracker.link(boxes_at(3.0, (0.4, 0.4, 0.5, 0.5))) == [2]
    assert tracker.link(boxes_at(4.0, LEFT)) == [0]  # not seen for two seconds
    assert tracker.link(boxes_at(9.0, LEFT)) == [3]  # for too long
    assert iou(LEFT, LEFT) == 1.0
    assert iou(LEFT, RIGHT) == 0.0


def test_boxes_move_between_moments():
    track = [
        Detection(box=ActorBox(time=time, box=box), actions=(("walk", 0.9),), track=0)
        for time, box in ((1.0, LEFT), (2.0, RIGHT), (9.0, LEFT))
    ]
    assert shown_at(track, 0.2, 1.0) is None
    assert shown_at(track, 0.6, 1.0) == (track[0], LEFT)
    found = shown_at(track, 1.5, 1.0)
    assert found is not None
    assert found[1] == pytest.approx((0.3, 0.05, 0.7, 0.85))
    assert shown_at(track, 2.4, 1.0) == (track[1], RIGHT)
    assert shown_at(track, 5.0, 1.0) is None
    assert shown_at(track, 9.6, 1.0) is None


def test_labels_are_large_and_inside():
    frame = np.zeros((60, 40, 3), np.uint8)
    detection = Detection(box=boxes_at(0, RIGHT)[0], actions=(("answer the phone", 0.5),), track=3)
    picture = annotate_picture(frame, [(detection, RIGHT)])
    assert min(picture.shape[:2]) >= 480
    white = (picture == 255).all(axis=2)
    rows = np.flatnonzero(white.any(axis=1))
    assert rows.max() - rows.min() >= 16
    assert picture.any(axis=2)[:, -1].any()  # the label of a box at the border does not leave it


def test_bad_videos_end_nothing(world, detector, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = sorted((world.folder / "videos").glob("*.mp4"))[-1]
    other = sorted((world.folder / "videos").glob("*.mp4"))[0]  # of the other split
    found = list(
        predict(detector, [tmp_path / "bad.mp4", other, good], boxes=world.folder / "ava_val.csv")
    )
    assert [isinstance(each, VideoError) for each in found] == [True, True, False]
    assert "image_id must be" in str(found[1])


def test_a_video_is_answered_and_drawn(world, detector, tmp_path):
    save_pretrained(
        detector.model, tmp_path / "model", preprocessing=PROTOCOL, labels=detector.labels
    )
    whole = sorted((world.folder / "videos").glob("*.mp4"))[-1]
    stamp = next(
        int(line.split(",")[1])
        for line in world.val.read_text().splitlines()
        if line.startswith(whole.stem)
    )
    with Video(whole) as video:
        end = round((stamp + 1) * video.fps)
        cut = write_video(tmp_path / whole.name, video.frames(range(end)), fps=video.fps)
    line = [
        "predict", "detections", str(cut), "-m", str(tmp_path / "model"), "--json", "-k", "2",
        "--threshold", "0", "--boxes", str(world.val), "--video", str(tmp_path / "a.mp4"),
    ]  # fmt: skip
    result = CliRunner().invoke(application.app, line)
    assert result.exit_code == 0, result.output
    [track, *_] = json.loads(result.stdout.splitlines()[0])["tracks"]
    [box, *_] = track["boxes"]
    assert set(box) == {"time", "box", "score", "actions"}
    assert (box["time"], len(box["actions"])) == (stamp, 2)
    with Video(tmp_path / "a.mp4") as drawn, Video(cut) as plain:
        assert len(drawn) == len(plain)
        assert drawn.fps == pytest.approx(plain.fps)
        first, last = drawn.frames([0, len(drawn) - 1])
    assert first.shape[0] >= 480
    assert not torch.equal(first, last)


# --- a detector of persons ----------------------------------------------------------------------


class Found(torch.nn.Module):
    """Finds a person, a car and a doubtful person."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        assert pictures[0].shape == (3, 20, 40)
        assert pictures[0].max() <= 1
        boxes = torch.tensor([[4.0, 2, 20, 18], [0, 0, 9, 9], [1, 1, 41, 9]])
        scores = torch.tensor([0.9, 0.95, 0.4])
        return [{"boxes": boxes, "labels": torch.tensor([1, 3, 1]), "scores": scores}]


def test_people_are_found_in_a_picture(world, detector, monkeypatch):
    finder = PersonDetector(Found())
    [person] = finder(torch.full((20, 40, 3), 255, dtype=torch.uint8), 2.0)
    assert person.box == pytest.approx((0.1, 0.1, 0.5, 0.9))
    assert (person.time, person.score) == (2.0, pytest.approx(0.9))
    assert len(PersonDetector(Found(), 0.3)(torch.zeros(20, 40, 3, dtype=torch.uint8))) == 2

    def whole(picture, time):
        return boxes_at(time, (0.1, 0.1, 0.9, 0.9))

    module = "internvideo.tasks.action_detection.predict.load_person_detector"
    monkeypatch.setattr(module, lambda *args, **options: whole)
    video = sorted((world.folder / "videos").glob("*.mp4"))[0]
    [answer] = predict(detector, [video], every=1.0)
    with Video(video) as opened:
        assert len(answer.detections) == pytest.approx(opened.duration, abs=1)
    assert set(answer.tracks) == {0}


@pytest.mark.slow
def test_a_detector_of_torchvision_runs_with_weights_of_a_file(tmp_path):
    from torchvision import models

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = models.get_model(name, weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    finder = load_person_detector(name, tmp_path / "weights.pth", least_score=0.0)
    found = finder(torch.randint(0, 256, (120, 160, 3), dtype=torch.uint8))
    assert all(0 <= side <= 1 for each in found for side in each.box)
    with pytest.raises(CheckpointError, match=r"weights\.pth is not of fasterrcnn_resnet50_fpn"):
        load_person_detector("fasterrcnn_resnet50_fpn", tmp_path / "weights.pth")


def test_weights_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"offline mode .* fetch https://.*--person-weights"):
        load_person_detector()
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read"):
        load_person_detector(weights=tmp_path / "bad.pth")
    with pytest.raises(ConfigError, match=r"no detector of persons 'yolo'"):
        load_person_detector("yolo")


def test_weights_are_fetched_once_from_a_server(tmp_path, monkeypatch):
    from torchvision.models._api import Weights, WeightsEnum

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    torch.save({"a": torch.ones(2)}, served / "x.pth")
    digest = hashlib.sha256((served / "x.pth").read_bytes()).hexdigest()[:8]
    (served / "x.pth").rename(served / f"x-{digest}.pth")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(served), **options)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_address[1]}"

        class Served(WeightsEnum):
            HERE = Weights(url=f"{start}/x-{digest}.pth", transforms=None, meta={})
            GONE = Weights(url=f"{start}/y-{digest}.pth", transforms=None, meta={})

        assert torch.equal(persons._state(Served.HERE, "x", None)["a"], torch.ones(2))
        with pytest.raises(CheckpointError, match=r"cannot be fetched .*404.*--person-weights"):
            persons._state(Served.GONE, "y", None)
        server.shutdown()
    assert torch.equal(persons._state(Served.HERE, "x", None)["a"], torch.ones(2))  # kept
