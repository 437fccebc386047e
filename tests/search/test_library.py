"""A library from end to end: real files, real models, a real store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import internvideo as iv
import tiny
from internvideo.data import write_world
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.search.library import open_library
from internvideo.search.records import Cut
from internvideo.search.store import Filter
from internvideo.video.frames import FramesInMemory
from internvideo.world import World
from internvideo.world.language import action_prompts
from search_films import write_film

SECONDS = Cut(window=1.0)


@pytest.fixture
def library(tmp_path, model, films):
    """A library of four films of three seconds, cut into seconds."""
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    library.index(films, cut=SECONDS)
    return library


def names(hits) -> list[str]:
    return [f"{Path(hit.path).stem}@{hit.start:g}" for hit in hits]


# ---------------------------------------------------------------- the world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Sixty clips of the world, and the action of each."""
    folder = tmp_path_factory.mktemp("world")
    written = write_world(folder, 60, kind="kinetics", world=World(seed=5), workers=1)
    lines = [json.loads(line) for line in written.truth.read_text().splitlines()]
    return folder / "videos", {Path(line["video"]).name: line["action"] for line in lines}


@pytest.mark.parametrize("name", ["viclip-nano", "mm-nano"])
def test_sentences_find_what_happens(world, name, tmp_path):
    folder, actions = world
    library = iv.open_library(tmp_path / "world.lance", name, device="cpu")
    report = library.index(folder)
    assert (report.new, report.parts, report.failures) == (60, 60, [])
    left = {video for video, action in actions.items() if action == "move left"}
    hits = library.search("a star moves to the left", limit=len(left))
    assert {Path(hit.path).name for hit in hits} == left
    right = []
    for action in sorted(set(actions.values())):
        for sentence in action_prompts(action, limit=2):
            [best] = library.search(sentence, limit=1)
            right.append(actions[Path(best.path).name] == action)
    assert len(right) > 40
    assert np.mean(right) > 0.75  # chance: 4 %


# ---------------------------------------------------------------- filling it


def test_indexing_again_does_nothing_and_new_and_changed_files_are_taken_in(library, films):
    again = library.index(films)
    assert (again.new, again.changed, again.unchanged, again.parts) == (0, 0, 4, 0)
    write_film(films / "film 0.mp4", 100, num_shots=2)
    write_film(films / "film 9.mp4", 9)
    (films / "film 3.mp4").unlink()
    report = library.index(str(films))
    assert (report.new, report.changed, report.unchanged, report.parts) == (1, 1, 2, 5)
    assert [Path(path).name for path in report.vanished] == ["film 3.mp4"]
    status = library.status()
    assert status.store.num_parts == 3 + 3 + 3 + 2 + 3  # a vanished video stays
    assert [Path(path).name for path in status.missing] == ["film 3.mp4"]
    library.index(films, prune=True)
    assert library.status().missing == []
    assert library.status().store.num_parts == 11


def test_a_library_keeps_what_its_model_says_of_each_part(library, films, model):
    """The vectors are those that the model gives for the frames of the part alone."""
    encoder = iv.load(model, device="cpu")
    film = films / "film 1.mp4"
    frames = iv.Video(film).frames(range(8, 16))
    vector = encoder.embed_video(frames)[0].numpy()
    [hit] = library.search(video=frames, limit=1)
    assert names([hit]) == ["film 1@1"]
    assert hit.score == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(hit.part.vector, vector, atol=1e-4)
    assert (hit.part.first_frame, hit.part.num_frames, hit.part.fps) == (8, 8, 8.0)
    assert (hit.part.height, hit.part.width, hit.part.duration) == (48, 64, 3.0)
    assert hit.end == 2.0
    assert hit.date.timestamp() == pytest.approx(film.stat().st_mtime, abs=1e-3)


def test_a_corrupt_video_is_listed_and_the_rest_is_indexed(tmp_path, model, films):
    whole = (films / "film 1.mp4").read_bytes()
    (films / "a.mp4").write_bytes(b"no video at all" * 100)
    (films / "b.mp4").write_bytes(whole[: len(whole) // 3])
    (films / "c.mp4").touch()
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    report = library.index([films, tmp_path / "nowhere"], cut=SECONDS)
    assert (report.new, report.unreadable, report.total) == (4, 4, 8)
    assert {Path(name).name for name, _ in report.failures} == {
        "a.mp4", "b.mp4", "c.mp4", "nowhere",
    }  # fmt: skip
    again = library.index(films)  # they are tried again
    assert (again.unchanged, again.unreadable) == (4, 3)
    assert len(library.status().store.videos) == 4


def test_a_video_that_is_damaged_in_the_middle_is_indexed_so_far(tmp_path, model, monkeypatch):
    path = write_film(tmp_path / "film.mp4", 1)
    read = iv.Video.frames

    def damaged(self, indices):
        if max(indices) >= 16:
            raise VideoError("film.mp4: frame 16 cannot be decoded")
        return read(self, indices)

    monkeypatch.setattr(iv.Video, "frames", damaged)
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    report = library.index(path, cut=SECONDS)
    assert (report.new, report.parts, report.unreadable) == (1, 2, 0)
    assert report.failures == [(str(path), "film.mp4: frame 16 cannot be decoded")]
    assert library.status().incomplete == list(report.failures)
    assert library.index(path).unchanged == 1


def test_another_model_preprocessing_or_cut_is_refused(library, films, tmp_path, model):
    uri, before = library.uri, library.status().to_dict()
    other = str(tiny.save_internvideo_mm(tmp_path / "other"))
    for options, message in (
        ({"model": other}, "made with the model .*viclip, not with .*other"),
        ({"cut": Cut(window=2.0)}, "made with windows of 1 s, not with windows of 2 s"),
        ({"cut": Cut(kind="shots", window=1.0)}, "not with shots of at most 2 s"),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            open_library(uri, device="cpu").index(films, **options)
        assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="made with the model"):
        open_library(uri, other, device="cpu").search("a star")
    squashed = iv.load(model, device="cpu").with_preprocessing(tiny.MULTI_VIEW)
    with pytest.raises(ConfigError, match="4 frames x 1 clip"):
        open_library(uri, squashed).index(films)
    assert library.status().to_dict() == before


def test_other_weights_under_the_same_name_are_refused(films, tmp_path):
    model = tiny.save_viclip(tmp_path / "model")
    library = open_library(tmp_path / "films.lance", str(model), device="cpu")
    library.index(films, cut=SECONDS)
    changed = iv.load(model, device="cpu")
    for parameter in changed.model.parameters():
        torch.nn.init.normal_(parameter)
    changed.save_pretrained(model)
    with pytest.raises(ConfigError, match="other weights of"):
        open_library(library.uri, device="cpu").search("a star")
    shutil.rmtree(model)
    with pytest.raises(ConfigError, match=r"which cannot be loaded .* --model"):
        open_library(library.uri, device="cpu").search("a star")


def test_a_model_without_text_finds_by_example_only(films, tmp_path):
    model = str(tiny.save_videomae(tmp_path / "mae"))
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    library.index(films, cut=SECONDS)
    with pytest.raises(ConfigError, match="has no text tower"):
        library.search("a star moves to the left")
    hits = library.search(like=f"{films / 'film 2.mp4'}@1.5", limit=3)
    assert len(hits) == 3


def test_deleting(library, films):
    assert library.delete(films / "film 1.mp4") == 1
    assert library.delete(films / "film 1.mp4") == 0
    assert len(library.status().store.videos) == 3
    library.compact()
    assert all("film 1" not in hit.path for hit in library.search("a star grows", limit=50))
    assert library.delete([films]) == 3
    assert library.status().store.num_parts == 0


# ---------------------------------------------------------------- asking it


def test_a_moment_finds_others_like_it_not_itself(library, films):
    shutil.copy(films / "film 1.mp4", films / "copy.mp4")
    library.index(films)
    hits = library.search(like=f"{films / 'film 1.mp4'}@1.5", limit=20)
    assert names(hits)[0] == "copy@1"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert "film 1@1" not in names(hits)
    found = library.search(video=films / "film 1.mp4", limit=20)
    assert sum(1 + hit.num_similar for hit in found) == 15
    assert max(hit.num_similar for hit in found) >= 1  # the copy


def test_filters_and_limits(library, films):
    os.utime(films / "film 2.mp4", (1_000_000, 1_000_000))
    library.delete(films / "film 2.mp4")
    library.index(films)
    everything = library.search("a star grows", limit=100)
    assert len(everything) == 12
    assert [hit.score for hit in everything] == sorted(hit.score for hit in everything)[::-1]
    assert names(library.search("a star grows", limit=3)) == names(everything[:3])
    only = library.search("a star grows", limit=100, where=Filter(path="*film 1*"))
    assert names(only) == [name for name in names(everything) if name.startswith("film 1")]
    old = library.search("a star grows", limit=100, where=Filter(before=2_000_000))
    assert {Path(hit.path).name for hit in old} == {"film 2.mp4"}
    assert library.search("a star", limit=9, where=Filter(min_duration=1.5)) == []


def test_a_library_that_is_not_there_or_empty(tmp_path, model, films):
    library = open_library(tmp_path / "none.lance", model, device="cpu")
    for ask in (library.status, library.compact, lambda: library.search("a star")):
        with pytest.raises(DataError, match=r"there is no library at .*none\.lance; fill one"):
            ask()
    assert not (tmp_path / "none.lance").exists()
    library.index(films / "film 1.mp4")
    library.delete(films)
    assert library.search("a star grows") == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"text": "a", "like": "b@1"},
        {"text": "a star", "limit": 0},
        {"like": "x@1", "rerank": 3},
    ],
)
def test_questions_that_make_no_sense(library, asked):
    with pytest.raises(ConfigError):
        library.search(**asked)


def test_a_matching_head_puts_the_best_in_another_order(tmp_path, films):
    model = str(tiny.save_umt(tmp_path / "umt"))
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    library.index(films, cut=SECONDS)
    plain = library.search("a star moves", limit=12)
    reranked = library.search("a star moves", limit=12, rerank=5)
    assert sorted(names(reranked[:5])) == sorted(names(plain[:5]))
    assert names(reranked[5:]) == names(plain[5:])
    matches = [hit.match for hit in reranked[:5]]
    assert matches == sorted(matches, reverse=True)
    assert all(0 < match < 1 for match in matches)
    assert [hit.match for hit in reranked[5:]] == [None] * 7
    umt = iv.load(model, device="cpu")
    best = reranked[0]
    frames = iv.Video(best.path).frames(range(best.part.first_frame, best.part.first_frame + 8))
    with torch.no_grad():
        tokens = umt.model.forward_features(
            umt.preprocessing.load(FramesInMemory(frames, fps=8))
        ).tokens
        text = umt.model.read(umt.tokenizer(["a star moves"]))
        right = umt.model.match_logits(tokens, text).softmax(dim=1)[0, 1]
    assert best.match == pytest.approx(float(right), abs=1e-4)
    gone = reranked[0].path
    Path(gone).unlink()
    left = library.search("a star moves", limit=12, rerank=5)
    assert [hit.match is None for hit in left if hit.path == gone] == [True] * 3
    assert left[0].match is not None


def test_only_models_with_a_matching_head_rerank(library):
    with pytest.raises(ConfigError, match="no matching head"):
        library.search("a star", rerank=10)
