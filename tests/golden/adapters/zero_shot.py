"""InternVideo-MM without training: classes by prompt ensemble, multiple choice, their files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from einops import rearrange

from golden.adapters.retrieval_models import evl_config
from golden.case import Case
from internvideo.data.build import detect_kind, read_list, read_multiple_choice
from internvideo.data.questions import Answers, QuestionSource, read_questions
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.tasks.multiple_choice.evaluate import choice_scores
from internvideo.tasks.zero_shot.classifier import prompt_probabilities
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo.kinds.internvideo_mm import OFFICIAL


def prompt_ensemble(case: Case) -> None:
    tensors = case.tensors
    sentences = tensors["input.text_feats"].unflatten(0, (case.meta["n_prompts"], -1))
    scale = tensors["input.logit_scale"].exp()
    shares = prompt_probabilities(tensors["input.video_feats"], sentences, scale)
    case.assert_close(shares, "output.probabilities")
    accuracy = (shares.argmax(dim=1) == tensors["input.labels"]).float().mean()
    assert float(accuracy) == case.meta["expected"]["accuracy"]


def zero_shot_and_choice(case: Case) -> None:
    tensors, config = case.tensors, case.meta["config"]
    sentences = tensors["input.text_feats"].unflatten(0, (config["num_prompts"], -1))
    scale = tensors["input.logit_scale"].exp()
    videos = tensors["input.video_feats"]
    shares = prompt_probabilities(videos, sentences, scale)
    case.assert_close(shares, "output.similarity")
    options = F.normalize(tensors["input.choice_text_feats"], dim=-1)
    scores = choice_scores(F.normalize(videos, dim=-1), options, 1 / scale)
    case.assert_close(scores, "output.choice_scores")


def multiple_choice(case: Case) -> None:
    config, tensors = case.meta["config"], case.tensors
    model = InternVideoMM(evl_config(config)).eval()
    model.load_state_dict(OFFICIAL.to_ours(case.group("state.")), strict=True)
    videos = model.encode_video(rearrange(tensors["input.video"], "b t c h w -> b c t h w"))
    ids = tensors["input.option_ids"]
    options = model.encode_text(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
    scores = choice_scores(videos, options, model.temperature())
    case.assert_close(scores, "output.score")
    case.assert_close(F.cross_entropy(scores, tensors["input.answer"]), "output.loss")
    accuracy = (scores.argmax(dim=1) == tensors["input.answer"]).float().mean()
    assert float(accuracy) == case.meta["expected"]["accuracy"]


_QA = (
    ("msrvttqa", "msrvtt-qa", "msrvtt/msrvtt_qa_{}.jsonl", "msrvtt/msrvtt_train_ans2label.json"),
    ("msvdqa", "msvd-qa", "msvd/msvd_{}_qa_encode.json", "msvd/msvd_answer_set.txt"),
    ("tgif_frameqa", "tgif-qa", "tgif/frameqa_{}.jsonl", "tgif/frameqa_trainval_ans2label.json"),
)


def _assert_questions(meta: Path, expected: dict) -> None:
    """Compare questions, answers, their numbers, and videos, in the order of the lines."""
    for key, kind, pattern, answers in _QA:
        for split in ("train", "test"):
            path = meta / pattern.format(split)
            assert detect_kind(path) == kind
            asked = read_questions(kind, path, protocol=PRESETS["internvideo-mm-qa"])
            chosen = Answers.choose(meta / answers, asked, file=path)
            source = QuestionSource(asked, chosen, shuffled=False)
            assert source.order(np.random.default_rng(0)).tolist() == list(range(len(source)))
            assert len(source) == expected[key]["len"]
            for place, item in enumerate(expected[key]["items"]):
                video, [question] = source.clip(place)
                [asked_question] = source.asked_questions(place)
                number = asked_question.number
                assert (-100 if number is None else number) == item["label"]
                assert (question.question, question.answer) == (item["question"], item["answer"])
                assert asked_question[:2] == (question.question, question.answer)
                assert asked.videos.clips.written_path(video) == item["video"]
    for split in ("train", "test"):
        [[choice]] = read_multiple_choice(meta / f"tgif/action_{split}.jsonl").questions
        [item] = expected["tgif_action"]["items"]
        assert (list(choice.sentences), choice.answer) == (item["texts"], item["answer"])


def annotations(case: Case) -> None:
    """The files of multiple choice, of zero-shot Kinetics, and of question answering."""
    expected = case.meta["expected"]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in case.meta["files"].items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content["text"]
            path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        meta = Path(folder) / "meta_data"
        for key, file in (
            ("msrvtt_mc", "msrvtt/msrvtt_mc_test.jsonl"),
            ("lsmdc_mc", "lsmdc/LSMDC16_multiple_choice_test_randomized.csv"),
        ):
            choices = read_multiple_choice(meta / file)
            found = [
                (choices.videos.written_path(place), question)
                for place, asked in enumerate(choices.questions)
                for question in asked
            ]
            assert len(found) == expected[key]["len"]
            for (video, question), item in zip(found, expected[key]["items"], strict=True):
                assert video == item["video"]
                assert list(question.options) == item["options"]
                assert question.answer == item["answer"]
        _assert_questions(meta, expected)
        clips = read_list("kinetics", meta / "k400/k400_test_tsm.list")
        pairs = [[Path(clip.path).name[:11], clip.label] for clip in clips]
        assert pairs == expected["k400_zero_shot"]["items"]


ADAPTERS = {
    "zsclassify-prompts": prompt_ensemble,
    "internvideo-mm-zeroshot": zero_shot_and_choice,
    "mc-vtc": multiple_choice,
    "vqa-annotations": annotations,
}
