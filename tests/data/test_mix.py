"""Mixes: whole batches of one medium, in an order that the epoch alone decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from internvideo.data.build import open_list
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.mix import MixSource
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_source
from internvideo.train.data import ClipDataset, EpochBatchSampler, build_loader, collate, fetch
from internvideo.video import Preprocessing, write_video


class Toy:
    """Clips that are only numbers; some of them still, some broken."""

    def __init__(self, name, size, *, still=None, ordered=False, broken=()):
        self.name, self.size, self.broken = name, size, broken
        if still is not None:
            self.still = np.asarray(still, bool)
        if ordered:
            self.order = lambda rng: np.arange(size) if rng.random() < 2 else None

    def __len__(self):
        return self.size

    def key(self, index):
        return f"{self.name}{index}"

    def label(self, index):
        return index

    def check_labels(self, num_classes):
        if self.size > num_classes:
            raise DataError(f"{self.name} has {self.size} classes")

    def read(self, index, rng):
        if index in self.broken:
            raise VideoError(f"{self.key(index)} is broken")
        still = bool(getattr(self, "still", np.zeros(self.size, bool))[index])
        return Sample(np.zeros((1 if still else 2, 2, 2, 3), np.uint8), key=self.key(index))

    def read_views(self, index, protocol):
        return index, protocol


def media(mix, batches):
    return [{bool(mix.still[index]) for _, index in batch} for batch in batches]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=3),
    weights=st.lists(st.sampled_from([0.3, 0.5, 1.0, 1.7, 2.0]), min_size=3, max_size=3),
    world_size=st.integers(1, 3),
    accumulate=st.integers(1, 2),
    seed=st.integers(0, 5),
)
def test_every_batch_of_every_rank_has_one_medium(sizes, weights, world_size, accumulate, seed):
    sources = [
        Toy(f"s{n}-", videos + images, still=[False] * videos + [True] * images)
        for n, (videos, images) in enumerate(sizes)
    ]
    mix = MixSource(sources, weights[: len(sources)])
    ranks = [
        EpochBatchSampler(
            mix, batch_size=2, epochs=2, seed=seed, accumulate=accumulate, rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]  # fmt: skip
    dealt = [list(rank) for rank in ranks]
    for batches, sampler in zip(dealt, ranks, strict=True):
        assert len(batches) == len(sampler)
        assert all(len(batch) == 2 for batch in batches)
    seen: dict[int, list[int]] = {0: [], 1: []}
    for first in range(0, len(dealt[0]), accumulate):  # one optimiser step
        step = [part for batches in dealt for part in batches[first : first + accumulate]]
        assert len({medium for part in media(mix, step) for medium in part}) == 1
        for epoch, index in (place for part in step for place in part):
            seen[epoch].append(index)
    for numbers in seen.values():
        assert len(set(numbers)) == len(numbers)  # each has random numbers of its own
    size = ranks[0].global_batch_size
    drawn = [
        sum(max(round(w * s[medium]), 1) for s, w in zip(sizes, weights, strict=False) if s[medium])
        for medium in (0, 1)
    ]
    assert ranks[0].steps_per_epoch == drawn[0] // size + drawn[1] // size


def test_an_epoch_can_be_taken_up_anywhere_and_the_next_is_another():
    mix = MixSource([Toy("v", 30), Toy("i", 20, still=[True] * 20)], [1.0, 0.5])
    options = {"batch_size": 5, "epochs": 2, "seed": 3}
    whole = list(EpochBatchSampler(mix, **options))
    assert len(whole) == 2 * (30 // 5 + 10 // 5)
    for start in (1, 7, 8, 11):
        assert list(EpochBatchSampler(mix, **options, start_step=start)) == whole[start:]
    first, second = whole[:8], whole[8:]
    assert [[i for _, i in b] for b in first] != [[i for _, i in b] for b in second]
    images = [{i for b in epoch for _, i in b if mix.still[i]} for epoch in (first, second)]
    assert len(images[0]) == len(images[1]) == 10
    assert images[0] != images[1]  # another half in each epoch
    assert media(mix, first) != sorted(media(mix, first), key=str)  # media take turns


def test_weights_are_passes_and_each_pass_has_its_own_numbers():
    mix = MixSource([Toy("a", 4), Toy("b", 6)], [2.0, 0.5])
    numbers = mix.batches(np.random.default_rng(0), 1)
    keys = [mix.key(int(number)) for number in numbers]
    assert sorted(key for key in keys if key[0] == "a") == sorted([f"a{n}" for n in range(4)] * 2)
    assert len([key for key in keys if key[0] == "b"]) == 3
    assert len(set(numbers.tolist())) == 11
    assert mix.label(int(numbers[0])) == int(keys[0][1:])
    assert mix.read(int(numbers[0]), np.random.default_rng(0)).key == keys[0]
    assert mix.read_views(5, "protocol") == (1, "protocol")
    mix.check_labels(6)
    with pytest.raises(DataError, match="b has 6 classes"):
        mix.check_labels(5)
    with pytest.raises(IndexError, match="clip 14 of a mix of 14"):
        mix.key(14)


def test_a_source_keeps_its_own_order_among_others():
    mix = MixSource([Toy("shards", 50, ordered=True), Toy("list", 50)])
    numbers = mix.batches(np.random.default_rng(1), 10)
    own = [n for n in numbers.tolist() if n < 50]
    assert own == sorted(own)
    assert len(own) == 50
    assert numbers.tolist() != sorted(numbers.tolist())


def test_a_broken_clip_is_replaced_by_one_of_its_kind():
    still = [True] * 10
    mix = MixSource([Toy("v", 10, broken=range(9)), Toy("i", 10, still=still, broken={0, 1, 2})])
    dataset = ClipDataset(mix, lambda s, rng: [{"video": torch.from_numpy(s.frames)}], seed=0)
    for index in range(10, 20):
        example = dataset[0, index]
        assert example.key.startswith("i")
        assert all(video.key.startswith("i") for video in example.skipped)
        assert example.rows[0]["video"].shape[0] == 1
    assert any(dataset[0, index].skipped for index in range(10, 13))


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ConfigError, match="a positive weight for each"):
        MixSource([Toy("a", 2), Toy("b", 2)], weights)
    with pytest.raises(ConfigError, match="needs sources"):
        MixSource([])


PROTOCOL = Preprocessing(num_frames=4, sampling="middle", resize_size=16, crop_size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four videos and four images of several kinds with captions in one list."""
    root = tmp_path_factory.mktemp("媒体")
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(4):
        frames = torch.randint(0, 256, (6, 32, 40, 3), generator=generator, dtype=torch.uint8)
        write_video(root / f"片段 {number}.mp4", frames, fps=8)
        rows.append(f"片段 {number}.mp4,一段视频 {number}\n")
        name = f"图 {number}.{('jpg', 'png', 'webp', 'JPEG')[number]}"
        Image.fromarray(frames[0].numpy()).save(root / name)
        rows.append(f"{name},一张图片 {number}\n")
    (root / "x.csv").write_text("path,caption\n" + "".join(rows), encoding="utf-8")
    return root


@pytest.mark.parametrize("sampling", [None, ClipSampling(rule="dense", clip_length=4)])
def test_images_are_videos_of_one_frame(folder, sampling):
    source = open_list("captions", folder / "x.csv", protocol=PROTOCOL, sampling=sampling)
    assert source.still.tolist() == [False, True] * 4
    rng = np.random.default_rng(0)
    for index in range(8):
        sample = source.read(index, rng)
        assert sample.frames.shape == (1 if index % 2 else 4, 32, 40, 3)
        assert sample.frames.dtype == np.uint8
        assert sample.caption == f"{'一张图片' if index % 2 else '一段视频'} {index // 2}"
    png = np.asarray(Image.open(folder / "图 1.png"))
    np.testing.assert_array_equal(source.read(3, rng).frames[0], png)
    assert source.read_views(3, PROTOCOL).views.shape == (1, 3, 4, 16, 16)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_recipe_mixes_videos_and_images(folder, wrapped):
    captions = f"{{kind: captions, annotations: '{folder}/x.csv'}}"
    mixed = f"{{kind: mix, sources: [{{data: {captions}, weight: 2}}]}}"
    recipe = load_recipe("world_viclip-nano", [f"data={mixed if wrapped else captions}"])
    source = build_source(recipe)
    assert isinstance(source, MixSource)
    assert len(source) == (16 if wrapped else 8)
    dataset = ClipDataset(source, prepared, seed=0)
    sampler = EpochBatchSampler(source, batch_size=2, epochs=1, seed=0)
    shapes = []
    for batch in build_loader(dataset, sampler, num_workers=0):
        shapes.append(tuple(batch.tensors["video"].shape[:2]))
    assert sorted(shapes) == [(2, 1)] * (len(source) // 4) + [(2, 16)] * (len(source) // 4)
    assert fetch(iter([collate([dataset[0, 0]])])).keys == [source.key(0)]


def prepared(sample, rng):
    return [{"video": torch.from_numpy(sample.frames)}]


def test_a_broken_image_is_a_video_error(folder, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "x.csv").write_text("path,caption\na.png,x\nb.png,x\nc.png,x\n")
    source = open_list("captions", tmp_path / "x.csv", protocol=PROTOCOL)
    rng = np.random.default_rng(0)
    for index, message in enumerate(["a.png: not an image", "is empty", "no such file"]):
        with pytest.raises(VideoError, match=message):
            source.read(index, rng)
