"""The offline model on real videos: what it says of them is true."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

import internvideo as iv
from internvideo.cli.application import run
from internvideo.pipeline.auto import automatic_card

VIDEOS = Path(__file__).parents[3] / "shared" / "videos"
TRUE = {
    "dog_snow.mp4": ("a dog plays in the snow", "a man plays with a dog", "a dog in winter"),
    "nasa_13013.mp4": (
        "an engineer inspects a telescope mirror",
        "a technician works on a space telescope",
        "machines and technology",
    ),
}
OTHERS = (
    "a cat sleeps on a sofa",
    "people swim in a pool",
    "a football match",
    "somebody cooks in a kitchen",
    "cars on a road",
    "children at a birthday party",
    "a city street at night",
    "a horse race",
    "flowers in a garden",
)

pytestmark = [
    pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"needs the sample videos in {VIDEOS}"),
    pytest.mark.skipif(
        find_spec("all_minilm_l6_v2") is None, reason="needs the extra internvideo[offline]"
    ),
]


@pytest.fixture(scope="module")
def model() -> iv.VideoModel:
    return iv.load("offline-objects", device="cpu")


@pytest.mark.parametrize(
    ("video", "label"), [(video, label) for video, labels in TRUE.items() for label in labels]
)
def test_the_true_one_of_ten_sentences_comes_first(model, video, label):
    answer = model.classify(VIDEOS / video, [label, *OTHERS])
    assert answer.label == label, answer.top(3)


def test_the_command_asks_it_without_being_told(capsys):
    if automatic_card().name != "offline-objects":
        pytest.skip("an official model is on this disk")
    options = [option for label in (TRUE["dog_snow.mp4"][0], *OTHERS) for option in ("-l", label)]
    assert run(["classify", str(VIDEOS / "dog_snow.mp4"), *options, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["model"] == "offline-objects"
    assert answer["predictions"][0]["label"] == TRUE["dog_snow.mp4"][0]
