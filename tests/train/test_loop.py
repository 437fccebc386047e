from __future__ import annotations

import json
import logging
import signal
from functools import partialmethod
from os import getpid
from os import kill as send_signal

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from internvideo.errors import ConfigError, DataError, InternVideoError
from internvideo.train.log import read_log
from internvideo.train.loop import Evaluation, train
from internvideo.train.stop import PreemptedError
from runs import assert_equal, learnt
from train.toy import ToySource, ToyTask, toy_plan, toy_run


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("internvideo.train.log.draw_curves", lambda records, path: None)


def weight_sum(model):
    return {"score": float(sum(p.sum() for p in model.parameters()))}


EVERYTHING = {
    "optim": {"ema_decay": 0.8, "clip_grad_norm": 0.5, "weight_decay_end": 0.4},
    "schedule": {"rule": "videomae", "epochs": 2, "warmup_epochs": 1},
    "runtime": {"batch_size": 2, "accumulate": 2, "save_every": 5, "log_every": 3},
}


@pytest.mark.parametrize("fails_at", [4, 13, 24], ids=["unsaved", "mid-epoch", "last step"])
def test_a_run_that_broke_off_goes_on_and_ends_exactly_as_if_it_had_not(tmp_path, fails_at):
    evaluation = Evaluation(measure=weight_sum)
    plan = toy_plan(**EVERYTHING)
    whole = toy_run(tmp_path / "whole", plan=plan, evaluation=evaluation)
    with pytest.raises(RuntimeError, match="machine is gone"):
        toy_run(
            tmp_path / "broken",
            task=ToyTask(fails_at=fails_at),
            plan=plan,
            evaluation=evaluation,
        )
    assert_equal(toy_run(tmp_path / "broken", plan=plan, evaluation=evaluation), whole)
    assert learnt(tmp_path / "broken") == learnt(tmp_path / "whole")
    states = [torch.load(tmp_path / d / "last.ckpt") for d in ("whole", "broken")]
    assert states[0]["best"] == states[1]["best"]
    assert_equal(states[1]["average"], states[0]["average"])


def test_micro_steps_are_one_step_of_the_whole_batch(tmp_path):
    plain = {"task": ToyTask(dropout=0.0)}
    whole = toy_run(tmp_path / "a", **plain, plan=toy_plan(optim={"clip_grad_norm": 0.1}))
    plan = toy_plan(optim={"clip_grad_norm": 0.1}, runtime={"batch_size": 1, "accumulate": 4})
    parts = toy_run(tmp_path / "b", task=ToyTask(dropout=0.0), plan=plan)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-6)


def test_the_average_is_what_is_evaluated_and_returned(tmp_path):
    seen = []

    def measure(model):
        assert not model.training
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"score": float(len(seen))}

    task = ToyTask()
    start = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    plan = toy_plan(optim={"ema_decay": 0.999}, schedule={"epochs": 1})
    final = toy_run(tmp_path, task=task, plan=plan, evaluation=Evaluation(measure=measure))
    assert task.training
    assert len(seen) == 1
    for name, tensor in seen[0].items():
        assert torch.equal(tensor, final[f"model.{name}"])
        moved = (task.model.state_dict()[name] - start[name]).abs().max()
        assert 0 < (tensor - start[name]).abs().max() < 0.1 * moved, "an average moves slowly"
    saved = torch.load(tmp_path / "last.ckpt")["task"]["model.head.weight"]
    assert torch.equal(saved, task.model.head.weight), "the checkpoint goes on from the weights"


def test_the_best_weights_are_kept_by_the_first_metric(tmp_path):
    scores = iter([0.1, 0.5, 0.3])
    kept = []
    evaluation = Evaluation(
        measure=lambda model: {"top1": next(scores), "loss": 9.0},
        keep=lambda weights: kept.append(weights["model.head.bias"]),
    )
    toy_run(tmp_path, plan=toy_plan(schedule={"epochs": 3}), evaluation=evaluation)
    assert len(kept) == 2
    measured = [r for r in read_log(tmp_path / "log.jsonl") if "val_top1" in r]
    assert [(r["step"], r["val_top1"]) for r in measured] == [(6, 0.1), (12, 0.5), (18, 0.3)]
    assert torch.load(tmp_path / "last.ckpt")["best"] == ["top1", 0.5, 12]


def test_a_run_ends_when_nothing_gets_better_and_stays_ended(tmp_path, caplog):
    scores = iter([0.1, 0.5, 0.5, 0.4, 0.9])
    kept = []
    evaluation = Evaluation(
        measure=lambda model: {"top1": next(scores)}, keep=lambda weights: kept.append(1)
    )
    plan = toy_plan(schedule={"epochs": 5, "patience": 2})
    for _ in range(2):
        with caplog.at_level(logging.INFO, "internvideo"):
            toy_run(tmp_path, plan=plan, evaluation=evaluation)
        assert "ends at step 24 of 30" in caplog.text
        caplog.clear()
    assert len(kept) == 3, "of equals the longest trained"
    assert next(scores) == 0.9


def test_the_last_epoch_is_measured_whatever_the_interval(tmp_path):
    evaluation = Evaluation(measure=weight_sum, every_epochs=2)
    toy_run(tmp_path, plan=toy_plan(schedule={"epochs": 3}), evaluation=evaluation)
    steps = [r["step"] for r in read_log(tmp_path / "log.jsonl") if "val_score" in r]
    assert steps == [12, 18]


@pytest.mark.parametrize("interval", [1, 100])
def test_a_loss_that_is_not_finite_keeps_the_batch_and_the_checkpoint(tmp_path, interval):
    plan = toy_plan(runtime={"log_every": interval, "batch_size": 2, "accumulate": 2})
    with pytest.raises(InternVideoError, match=r"loss not finite at step 4.*nonfinite-step4.pt"):
        toy_run(tmp_path, task=ToyTask(poison=8), plan=plan)
    state = torch.load(tmp_path / "last.ckpt")
    assert state["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["task"].values())
    kept = torch.load(tmp_path / "nonfinite-step4.pt", weights_only=True)
    assert [loss == loss for loss in kept["losses"]] == [True, False]
    assert [len(keys) for keys in kept["keys"]] == [2, 2]
    number = int(kept["keys"][1][0].removeprefix("clip").removesuffix(".mp4"))
    expected = torch.from_numpy(ToySource().read(number, None).frames).flatten()
    assert torch.equal(kept["batches"][1]["pixels"][0], expected)


def test_a_gradient_that_is_not_finite_is_never_saved(tmp_path):
    class Steep(ToyTask):
        def training_loss(self, batch):
            losses = super().training_loss(batch)
            if self.calls == 4:  # finite itself, with an infinite derivative
                losses["loss"] = losses["loss"] + (self.model.head.bias * 0).abs().sqrt().sum()
            return losses

    with pytest.raises(InternVideoError, match="gradient not finite at step 4"):
        toy_run(tmp_path, task=Steep(), plan=toy_plan(runtime={"save_every": 1}))
    assert torch.load(tmp_path / "last.ckpt")["step"] == 3


def test_sigterm_saves_this_step_and_the_run_goes_on(tmp_path):
    class Signalled(ToyTask):
        def training_loss(self, batch):
            if self.calls == 2:
                send_signal(getpid(), signal.SIGTERM)
            return super().training_loss(batch)

    before = signal.getsignal(signal.SIGTERM)
    plan = toy_plan(runtime={"save_every": 100})
    with pytest.raises(PreemptedError, match=r"step 3 .*SIGTERM") as caught:
        toy_run(tmp_path / "stopped", task=Signalled(), plan=plan)
    assert (caught.value.step, caught.value.signal_number) == (3, 15)
    assert signal.getsignal(signal.SIGTERM) is before
    assert torch.load(tmp_path / "stopped" / "last.ckpt")["step"] == 3
    assert_equal(toy_run(tmp_path / "stopped", plan=plan), toy_run(tmp_path / "whole", plan=plan))
    assert learnt(tmp_path / "stopped") == learnt(tmp_path / "whole")


class SignalAtTheEnd(ToyTask):
    """Gets a signal in the last step of the first epoch."""

    def training_loss(self, batch):
        if self.calls == 5:
            send_signal(getpid(), signal.SIGTERM)
        return super().training_loss(batch)


def test_an_evaluation_that_a_signal_left_no_time_for_is_made_up_for(tmp_path):
    evaluation = Evaluation(measure=weight_sum)
    whole = toy_run(tmp_path / "whole", evaluation=evaluation)
    with pytest.raises(PreemptedError, match="step 6"):
        toy_run(tmp_path / "stopped", task=SignalAtTheEnd(), evaluation=evaluation)
    assert not any("val_score" in record for record in learnt(tmp_path / "stopped"))
    assert_equal(toy_run(tmp_path / "stopped", evaluation=evaluation), whole)
    assert learnt(tmp_path / "stopped") == learnt(tmp_path / "whole")


def test_videos_that_cannot_be_read_are_replaced_counted_and_listed(tmp_path, caplog):
    source = ToySource(broken=frozenset({5, 17}))
    with caplog.at_level(logging.WARNING, logger="internvideo"):
        toy_run(tmp_path, source=source)
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").open()]
    assert sorted(entry["key"] for entry in listed) == ["clip17.mp4", "clip5.mp4"]
    assert {entry["reason"] for entry in listed} == {
        f"clip{n}.mp4: no video stream" for n in (5, 17)
    }
    assert {entry["epoch"] for entry in listed} == {0}
    assert read_log(tmp_path / "log.jsonl")[-1]["skipped"] == 2
    assert "2 videos could not be read" in caplog.text


def test_a_run_that_broke_off_lists_each_skipped_video_once(tmp_path):
    source = ToySource(broken=frozenset({5, 17}))
    toy_run(tmp_path / "whole", source=source)
    with pytest.raises(RuntimeError, match="machine is gone"):
        toy_run(tmp_path / "broken", source=source, task=ToyTask(fails_at=6))
    toy_run(tmp_path / "broken", source=source)
    texts = [(tmp_path / d / "skipped.jsonl").read_text() for d in ("whole", "broken")]
    assert texts[0] == texts[1]
    assert learnt(tmp_path / "broken") == learnt(tmp_path / "whole")


def test_when_nothing_can_be_read_the_reasons_are_given(tmp_path):
    source = ToySource(broken=frozenset(range(24)))
    with pytest.raises(DataError, match=r"10 videos.*no video stream"):
        toy_run(tmp_path, source=source)


def test_other_settings_are_named(tmp_path):
    toy_run(tmp_path, plan=toy_plan(settings={"optim": {"lr": 1.0}, "init": "a"}))
    with pytest.raises(ConfigError, match=r"init .*'a'.*optim\.lr.*1\.0.*2\.0"):
        toy_run(tmp_path, plan=toy_plan(settings={"optim": {"lr": 2.0}}))


def test_another_global_batch_is_refused_but_another_split_is_not(tmp_path):
    toy_run(tmp_path)
    with pytest.raises(ConfigError, match=r"4 videos.* 3"):
        toy_run(tmp_path, plan=toy_plan(runtime={"batch_size": 3}))
    toy_run(tmp_path, plan=toy_plan(runtime={"batch_size": 2, "accumulate": 2}))


def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    whole = toy_run(tmp_path)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-500])
    with caplog.at_level(logging.WARNING, logger="internvideo"):
        again = toy_run(tmp_path)
    assert "taking previous.ckpt instead" in caplog.text
    assert_equal(again, whole)


def test_compiled_blocks_learn_the_same(tmp_path, monkeypatch):
    traced = partialmethod(nn.Module.compile, backend="aot_eager")  # inductor takes a minute
    monkeypatch.setattr(nn.Module, "compile", traced)
    plain = toy_run(tmp_path / "a", task=ToyTask(dropout=0.0))
    task = ToyTask(dropout=0.0)
    compiled = toy_run(tmp_path / "b", task=task, plan=toy_plan(runtime={"compile": True}))
    assert all(block._compiled_call_impl is not None for block in task.model.blocks)
    assert compiled.keys() == plain.keys(), "names are those of the plain model"
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-4, atol=1e-5)


def test_an_evaluation_that_was_made_up_for_is_logged_once(tmp_path):
    evaluation = Evaluation(measure=weight_sum)
    plan = toy_plan(runtime={"save_every": 100})
    with pytest.raises(PreemptedError, match="step 6"):
        toy_run(tmp_path, task=SignalAtTheEnd(), plan=plan, evaluation=evaluation)
    with pytest.raises(RuntimeError, match="machine is gone"):
        toy_run(tmp_path, task=ToyTask(fails_at=2), plan=plan, evaluation=evaluation)
    toy_run(tmp_path, plan=plan, evaluation=evaluation)
    steps = [record["step"] for record in learnt(tmp_path) if "val_score" in record]
    assert steps == [6, 12]


def test_a_kill_in_an_evaluation_loses_no_step(tmp_path):
    def gone(model):
        raise RuntimeError("the machine is gone")

    plan = toy_plan(runtime={"save_every": 100})
    with pytest.raises(RuntimeError, match="machine is gone"):
        toy_run(tmp_path / "cut", plan=plan, evaluation=Evaluation(measure=gone))
    assert torch.load(tmp_path / "cut" / "last.ckpt")["step"] == 6
    evaluation = Evaluation(measure=weight_sum)
    task = ToyTask()
    resumed = toy_run(tmp_path / "cut", task=task, plan=plan, evaluation=evaluation)
    assert task.calls == 6
    assert_equal(resumed, toy_run(tmp_path / "whole", plan=plan, evaluation=evaluation))
    assert learnt(tmp_path / "cut") == learnt(tmp_path / "whole")


def test_a_signal_in_the_last_evaluation_ends_the_run_with_all_saved(tmp_path):
    def signalled(model):
        send_signal(getpid(), signal.SIGTERM)
        return weight_sum(model)

    plan = toy_plan(schedule={"epochs": 1})
    whole = toy_run(tmp_path / "whole", plan=plan, evaluation=Evaluation(measure=weight_sum))
    with pytest.raises(PreemptedError, match="step 6"):
        toy_run(tmp_path / "stopped", plan=plan, evaluation=Evaluation(measure=signalled))
    again = toy_run(tmp_path / "stopped", plan=plan, evaluation=Evaluation(measure=weight_sum))
    assert_equal(again, whole)
    assert learnt(tmp_path / "stopped") == learnt(tmp_path / "whole")


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_a_gradient_scaler_may_overflow(tmp_path, max_norm):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=precision)
    plan = toy_plan(optim={"clip_grad_norm": max_norm}, schedule={"steps": 40})
    task = ToyTask()
    start = task.model.head.weight.detach().clone()
    train(task, ToySource(), plan, tmp_path, fabric=fabric)
    assert scaler.get_scale() < 2.0**24
    assert not torch.equal(task.model.head.weight, start)
    assert "grad_norm" not in learnt(tmp_path)[-1]
