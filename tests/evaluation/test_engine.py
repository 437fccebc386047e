"""The loop that every task has: batches, failures, going on after a stop, several processes."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop, Seen, Unreadable, answers
from internvideo.evaluation.predictions import Answered, read_predictions
from internvideo.evaluation.report import Report
from noise import NoiseSource


class Scale(nn.Module):
    """Gives the mean of each clip, times a weight."""

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, clips):
        return self.weight * clips.mean(dim=(1, 2, 3, 4))


class Brightness(Answerer[float]):
    """Answers with the mean over the views of a video."""

    def __init__(self, network: nn.Module | None = None, protocol=tiny.MULTI_VIEW) -> None:
        super().__init__(network or Scale(), protocol)

    def answer(self, batch: Batch) -> list[float]:
        return [float(rows.mean()) for _, rows in batch.each(self.network)]

    def to_json(self, answer: float) -> dict[str, Any]:
        return {"value": answer, "only on disk": 1}

    def from_json(self, line: dict[str, Any]) -> float:
        return line["value"]


def one_by_one(source: NoiseSource, weight: float = 2.0) -> list[Answered[float]]:
    found = []
    for index in range(len(source)):
        name = source.key(index)
        if index in source.broken:
            found.append(Answered(index, name, error=f"{name}: broken"))
        else:
            value = weight * source.read_views(index, tiny.MULTI_VIEW).views.mean()
            found.append(Answered(index, name, pytest.approx(float(value), abs=1e-6)))
    return found


def stop_after(count: int):
    def stop(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_answers_are_those_one_by_one_in_batches_of_any_size(batch_size, num_workers):
    answerer, sizes, steps = Brightness(), [], []
    answerer.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    loop = EvalLoop(
        batch_size=batch_size,
        num_workers=num_workers,
        progress=lambda *step: steps.append(step),
    )
    assert loop.run(answerer, NoiseSource()) == one_by_one(NoiseSource())
    assert max(sizes) <= batch_size
    assert sum(sizes) == 8 * 6
    assert steps == [(done, 9) for done in range(1, 10)]


def test_the_network_is_in_evaluation_mode_and_left_as_it_was():
    answerer, modes = Brightness(), []
    answerer.network.register_forward_hook(lambda module, *_: modes.append(module.training))
    answerer.network.train()
    EvalLoop().run(answerer, NoiseSource(2, ()))
    with pytest.raises(KeyboardInterrupt):
        EvalLoop(progress=stop_after(1)).run(answerer, NoiseSource(2, ()))
    assert answerer.network.training
    assert not any(modes)


def test_a_stopped_evaluation_goes_on_and_gives_the_same_answers(tmp_path):
    whole = EvalLoop().run(Brightness(), NoiseSource())
    with pytest.raises(KeyboardInterrupt):
        EvalLoop(batch_size=1, directory=tmp_path, progress=stop_after(5)).run(
            Brightness(), NoiseSource()
        )
    path = tmp_path / "predictions.jsonl"
    assert [line["index"] for line in read_predictions(path)] == [0, 1, 2, 3, 4]
    source, steps = NoiseSource(), []
    loop = EvalLoop(batch_size=1, directory=tmp_path, progress=lambda *step: steps.append(step))
    assert loop.run(Brightness(), source) == whole
    assert sorted(source.seen) == [4, 5, 6, 7, 8]  # the broken one is tried again
    assert (steps[0], steps[-1]) == ((5, 9), (9, 9))
    lines = read_predictions(path)
    assert [line["index"] for line in lines] == list(range(9))
    assert lines[4] == {"index": 4, "video": "v4.mp4", "error": "v4.mp4: broken"}
    assert lines[5] == {
        "index": 5, "video": "v5.mp4", "value": whole[5].answer, "only on disk": 1,
    }  # fmt: skip
    third = NoiseSource(broken=())
    assert not any(each.error for each in loop.run(Brightness(), third))
    assert third.seen == [4]


def test_answers_of_other_weights_views_or_lists_are_not_continued(tmp_path):
    loop = EvalLoop(directory=tmp_path)
    loop.run(Brightness(), NoiseSource())
    for answerer, source, other in (
        (Brightness(Scale(3.0)), NoiseSource(), "weights"),
        (Brightness(protocol=tiny.PROTOCOL), NoiseSource(), "protocol"),
        (Brightness(), NoiseSource(3), "num_videos"),
    ):
        with pytest.raises(ConfigError, match=rf"predictions\.jsonl.*\b{other}\b"):
            loop.run(answerer, source)


def two_processes(monkeypatch, run) -> list[Any]:
    """Return what two processes, one after the other, make; their messages are played back."""
    shares: list[dict] = []

    def all_gather(values, value):
        if isinstance(value, frozenset):
            values[:] = [value, value]
        else:
            shares.append(value)
            values[:] = shares[::-1] if len(shares) == 2 else [value, {}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather)
    fabrics = [
        SimpleNamespace(
            global_rank=rank,
            world_size=2,
            is_global_zero=rank == 0,
            autocast=lambda: torch.autocast("cpu", enabled=False),
        )
        for rank in (0, 1)
    ]
    return [run(fabrics[rank]) for rank in (1, 0)][::-1]


def test_each_process_reads_its_share_and_the_first_gets_the_whole(tmp_path, monkeypatch):
    sources = NoiseSource(), NoiseSource()

    def run(fabric):
        directory = tmp_path / f"machine{fabric.global_rank}"  # nothing shared but the messages
        loop = EvalLoop(batch_size=1, fabric=fabric, directory=directory)
        found = loop.run(Brightness(), sources[fabric.global_rank])
        loop.write(Report(model="m"))
        return found

    monkeypatch.setattr(Report, "metrics", lambda _: {"value": 1.0})
    whole, _ = two_processes(monkeypatch, run)
    assert sorted(sources[0].seen) == [0, 2, 4, 6, 8]
    assert sorted(sources[1].seen) == [1, 3, 5, 7]
    assert whole == EvalLoop().run(Brightness(), NoiseSource())
    lines = read_predictions(tmp_path / "machine0" / "predictions.jsonl")
    assert [line["index"] for line in lines] == list(range(9))
    assert json.loads((tmp_path / "machine0" / "report.json").read_text())["value"] == 1.0
    assert not (tmp_path / "machine1" / "report.json").exists()


def test_an_empty_list_is_refused(tmp_path):
    with pytest.raises(DataError, match="empty"):
        EvalLoop(directory=tmp_path).run(Brightness(), NoiseSource(0))
    assert not list(tmp_path.iterdir())


def seen(number: int) -> Seen:
    return Seen(f"{number}", torch.full((1, 3, 2, 4, 4), float(number)), number)


def test_videos_are_read_ahead_in_threads_but_never_all_of_them():
    taken, threads = [], set()

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    def read(number: int) -> Seen:
        threads.add(threading.get_ident())
        return seen(number)

    asked = answers(Brightness(), endless(), read, batch_size=4, num_workers=2)
    found = [next(asked) for _ in range(8)]
    asked.close()
    assert [(video.name, value) for video, value in found] == [(f"{n}", 2.0 * n) for n in range(8)]
    assert threading.get_ident() not in threads
    assert len(taken) <= 8 + 4 + 1


def test_many_broken_videos_in_a_row_are_told_before_the_end():
    def read(number: int) -> Unreadable:
        assert number < 100
        return Unreadable(f"{number}", VideoError("broken"))

    asked = answers(Brightness(), range(1000), read, batch_size=2, num_workers=0)
    video, error = next(asked)
    assert (video.name, str(error)) == ("0", "broken")


def test_where_the_videos_break_off_the_answers_before_come_first():
    def breaking():
        yield from map(seen, range(3))
        raise VideoError("broken at 3")

    found = []
    with pytest.raises(VideoError, match="broken at 3"):
        found.extend(value for _, value in answers(Brightness(), breaking(), batch_size=2))
    assert found == [0.0, 2.0, 4.0]


def test_rows_may_be_lists_and_inputs_have_the_type_of_the_weights():
    network, dtypes = Scale().to(torch.bfloat16), []

    def ask(clips):
        dtypes.append(clips.dtype)
        return [f"clip {float(clip.mean()):g}" for clip in clips]

    batch = Batch.of(network, [seen(1), seen(2), seen(3)], 2)
    assert [rows for _, rows in batch.each(ask)] == [["clip 1"], ["clip 2"], ["clip 3"]]
    assert set(dtypes) == {torch.bfloat16}
    [(_, rows), *_] = batch.each(network)
    assert (rows.dtype, rows.requires_grad) == (torch.float32, False)
