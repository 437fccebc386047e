from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import safe_open

import tiny
from internvideo.cli import application, terminal
from internvideo.cli.labels import read_labels
from internvideo.cli.terminal import ProgressBar, command_help
from internvideo.errors import DataError
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import SIZES as viclip_sizes  # noqa: N811
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.video import write_video
from internvideo.zoo.architectures import find_architecture

LABELS = ["--labels", "something grows", "--labels", "something shrinks"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_viclip(root / "viclip")
    tiny.save_classifier(root / "classifier")
    tiny.save_videomae(root / "videomae")
    return root


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """Good files, and one of every kind of bad one."""
    import av

    root = tmp_path_factory.mktemp("media")
    for seed, name in enumerate(("first", "second [x]")):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (12, 32, 40, 3), generator=generator, dtype=torch.uint8)
        write_video(root / "good" / f"{name}.mp4", frames, fps=8)
    good = (root / "good/first.mp4").read_bytes()
    (root / "empty.mp4").write_bytes(b"")
    (root / "truncated.mp4").write_bytes(good[: len(good) // 3])
    (root / "text.mp4").write_text("this is no video\n" * 40, encoding="utf-8")
    (root / "nothing").mkdir()
    with av.open(str(root / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return root


def one_error_line(stderr: str) -> str:
    """Return the only error of a command's stderr, which must be one line and no traceback."""
    lines = [line for line in stderr.splitlines() if not line.startswith(("note: ", "warning: "))]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in stderr
    return lines[0]


# --- classify


def test_classify_prints_a_table(call, models, media):
    code, out, err = call("classify", media / "good/first.mp4", *LABELS, "-m", models / "viclip")
    assert (code, err) == (0, "")
    assert "something grows" in out
    assert "%" in out


def test_classify_json_has_one_object_a_line(call, models, media):
    code, out, err = call("classify", media / "good", *LABELS, "-m", models / "viclip", "--json")
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [Path(answer["video"]).name for answer in answers] == ["first.mp4", "second [x].mp4"]
    for answer in answers:
        shares = [each["probability"] for each in answer["predictions"]]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)


def test_classify_many_videos_gives_one_row_each(call, models, media, tmp_path):
    for number in range(5):
        source = (media / "good/first.mp4").read_bytes()
        (tmp_path / f"clip{number}.mp4").write_bytes(source)
    code, out, _ = call("classify", tmp_path, *LABELS, "-m", models / "viclip")
    assert code == 0
    assert [sum(f"clip{n}.mp4" in line for line in out.splitlines()) for n in range(5)] == [1] * 5


def test_labels_come_from_files_too(call, models, media, tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffsomething grows\n\n  a red star \nsomething grows\n", encoding="utf-8")
    for value in (str(file), f"@{file}"):
        code, out, _ = call(
            "classify", media / "good/first.mp4", "-l", value, "-l", "a circle",
            "-m", models / "viclip", "--json",
        )  # fmt: skip
        assert code == 0
        labels = {each["label"] for each in json.loads(out)["predictions"]}
        assert labels == {"something grows", "a red star", "a circle"}


def test_top_k_and_a_classifier_with_its_own_classes(call, models, media):
    line = ("classify", media / "good/first.mp4", "-m", models / "classifier", "--json")
    code, out, _ = call(*line)
    assert code == 0
    assert {each["label"] for each in json.loads(out)["predictions"]} == set(tiny.CLASSES)
    code, out, _ = call(*line, "--top-k", 2)
    assert len(json.loads(out)["predictions"]) == 2


def test_plots_of_one_and_of_several_videos(call, models, media, tmp_path):
    pytest.importorskip("matplotlib")
    model = ("-m", models / "viclip")
    picture = tmp_path / "new" / "scores.png"
    first = media / "good/first.mp4"
    assert call("classify", first, *LABELS, *model, "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    folder = tmp_path / "plots"
    assert call("classify", media / "good", first, *LABELS, *model, "--plot", folder)[0] == 0
    assert sorted(p.name for p in folder.iterdir()) == ["first.png", "second [x].png"]


def test_unknown_words_are_a_warning(call, models, media):
    code, _, err = call(
        "classify",
        media / "good/first.mp4",
        "-l",
        "a zebra",
        "-l",
        "a star",
        "-m",
        models / "viclip",
    )
    assert code == 0
    [line] = err.splitlines()
    assert line.startswith("warning: ")
    assert "zebra" in line


# --- bad input


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.mp4", "no such file"),
        ("nothing", "no videos"),
        ("empty.mp4", "empty"),
        ("truncated.mp4", "truncated.mp4"),
        ("text.mp4", "text.mp4"),
        ("audio.mp4", "audio"),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "embed"])
def test_a_single_bad_video_is_one_error_line_and_code_2(
    call, models, media, tmp_path, verb, name, told
):
    options = LABELS if verb == "classify" else ["--out", tmp_path / "out.npz"]
    code, out, err = call(verb, media / name, *options, "-m", models / "viclip")
    assert (code, out) == (2, "")
    assert told in one_error_line(err)
    assert name in err
    assert not (tmp_path / "out.npz").exists()


def test_in_a_batch_the_good_ones_are_answered_and_the_bad_ones_listed(call, models, media):
    bad = ["missing.mp4", "nothing", "empty.mp4", "truncated.mp4", "text.mp4", "audio.mp4"]
    names = ["good/first.mp4", *bad[:3], "good/second [x].mp4", *bad[3:]]
    code, out, err = call(
        "classify", *(media / name for name in names), *LABELS, "-m", models / "viclip", "--json"
    )
    assert code == 1
    answered = [Path(json.loads(line)["video"]).name for line in out.splitlines()]
    assert answered == ["first.mp4", "second [x].mp4"]
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert lines[0] == "6 of 8 videos could not be used:"
    assert len(lines) == 7
    for name in bad:
        assert sum(f"{media / name}:" in line for line in lines) == 1
    assert "Traceback" not in err


def test_a_batch_without_a_good_one_has_code_1(call, models, media):
    code, out, err = call(
        "classify",
        media / "empty.mp4",
        media / "text.mp4",
        *LABELS,
        "-m",
        models / "viclip",
        "--json",
    )
    assert (code, out) == (1, "")
    assert "2 of 2 videos could not be used:" in err


def test_a_text_model_without_labels(call, models, media):
    code, _, err = call("classify", media / "good/first.mp4", "-m", models / "viclip")
    assert code == 2
    assert "--labels" in one_error_line(err)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        ("größer\n".encode("latin-1"), "is not UTF-8 text (byte 0xf6 at position 2)"),
        (b"a\0b\n", "not a text file"),
    ],
)
def test_bad_label_files(call, models, media, tmp_path, content, told):
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    code, _, err = call(
        "classify", media / "good/first.mp4", "-l", f"@{file}", "-m", models / "viclip"
    )
    assert code == 2
    assert told in one_error_line(err)


def test_label_values():
    assert read_labels(None) is None
    assert read_labels([" a ", "b", "a"]) == ["a", "b"]
    assert read_labels(["x" * 10_000]) == ["x" * 10_000]
    with pytest.raises(DataError, match="/no/such/file"):
        read_labels(["@/no/such/file"])
    with pytest.raises(DataError, match="empty"):
        read_labels(["a", "  "])
    with pytest.raises(DataError, match="cannot be read"):
        read_labels([f"@{os.sep}"])


def test_an_unknown_model_names_the_nearest(call, media):
    code, _, err = call("classify", media / "good/first.mp4", *LABELS, "-m", "viclip-l15")
    assert code == 2
    assert "Did you mean" in one_error_line(err)
    assert "viclip-l14" in err


def test_a_checkpoint_of_another_kind_is_refused(call, media, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.zeros(3, 3)}, file)
    code, _, err = call("classify", media / "good/first.mp4", *LABELS, "-m", file)
    assert code == 2
    assert "weights.pth" in one_error_line(err)


def test_weights_of_one_model_are_not_those_of_another(call, media, tmp_path):
    size = {"width": 64, "depth": 1, "num_heads": 1, "embed_dim": 64}
    config = ViCLIPConfig(
        vision=ViCLIPVisionConfig(**size),
        text=CLIPTextConfig(context_length=32, **size),
        embed_dim=64,
    )
    file = tmp_path / "weights.pth"
    torch.save({"model": ViCLIP(config).state_dict()}, file)
    code, _, err = call(
        "classify", media / "good/first.mp4", *LABELS, "-m", file, "--card", "viclip-l14"
    )
    assert code == 2
    assert "is not viclip-l14" in one_error_line(err)
    code, _, err = call(
        "classify", media / "good/first.mp4", *LABELS, "-m", file, "--card", "viclip-l15"
    )
    assert code == 2
    assert "Did you mean" in one_error_line(err)


def test_a_text_file_is_no_checkpoint(call, media, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_text("hello", encoding="utf-8")
    code, _, err = call("classify", media / "good/first.mp4", *LABELS, "-m", file)
    assert code == 2
    one_error_line(err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["classfy", "x.mp4"], "'classify'"),
        (["classify"], "Missing argument"),
        (["classify", "x.mp4", "--labls", "a"], "No such option"),
        (["classify", "x.mp4", "-l", "a", "--top-k", "0"], "top-k"),
        (["classify", "x.mp4", "-l", "a", "--device", "toaster", "-m", "{model}"], "toaster"),
        (["world"], "--out"),
        (["world", "--out", "{out}", "--format", "coco"], "coco"),
        (["world", "--out", "{out}", "--num-clips", "0"], "num-clips"),
        (["embed"], "nothing to embed"),
        (["embed", "x.mp4", "--out", "{out}.npx"], "'.npz'"),
        (["embed", "x.mp4", "--every", "2", "--stride", "1"], "leave one of them out"),
        (["embed", "x.mp4", "--window", "0"], "positive length"),
        (["models", "show", "viclip-l15"], "Did you mean"),
        (["models", "zzz*"], "no model matches"),
        (["models", "--family", "Vidoemae"], "unknown family"),
        (["models", "verify", "{out}"], "error"),
        (["train", "no-such-recipe"], "no recipe 'no-such-recipe'"),
        (["demo", "--out", "{out}", "--model", "{videomae}"], "text tower"),
    ],
)
def test_bad_options_are_one_error_line_and_code_2(call, models, tmp_path, arguments, told):
    places = {
        "out": tmp_path / "out",
        "model": models / "viclip",
        "videomae": models / "videomae",
    }
    code, out, err = call(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert told in one_error_line(err)


def test_outputs_that_cannot_be_written_are_told_before_the_work(call, models, media, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way", encoding="utf-8")
    video, model = media / "good/first.mp4", ("-m", models / "viclip")
    for line in (
        ("embed", video, *model, "--out", blocker / "deep" / "out.npz"),
        ("classify", video, *LABELS, *model, "--plot", blocker / "plot.png"),
        ("world", "--out", blocker / "world"),
        ("demo", "--out", blocker, *model),
    ):
        code, out, err = call(*line)
        assert (code, out) == (2, "")
        assert "cannot write" in one_error_line(err)
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    assert "it is a folder" in call("embed", video, *model, "--out", folder)[2]


def test_interruption_has_its_own_code(call, models, media, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("internvideo.pipeline.load", interrupt)
    code, _, err = call("classify", media / "good/first.mp4", *LABELS, "-m", models / "viclip")
    assert code == 130
    assert one_error_line(err) == "error: interrupted"


# --- embed


def test_embed_writes_npz(call, models, media, tmp_path):
    out = tmp_path / "deep" / "out.npz"
    code, told, _ = call(
        "embed", media / "good", "-t", "a star", "-m", models / "viclip", "--out", out
    )
    assert code == 0
    assert "2 videos and 1 text, 16 numbers each" in told
    with np.load(out) as data:
        assert [Path(name).name for name in data["videos"]] == ["first.mp4", "second [x].mp4"]
        assert data["texts"].tolist() == ["a star"]
        assert data["video_embeddings"].dtype == np.float32
        assert np.linalg.norm(data["video_embeddings"], axis=1) == pytest.approx([1, 1], abs=1e-5)
        assert data["text_embeddings"].shape == (1, 16)
        manifest = json.loads(str(data["manifest"]))
    assert manifest["preprocessing"] == tiny.PROTOCOL.to_dict()
    assert len(manifest["weights_sha256"]) == 64
    assert [p.name for p in out.parent.iterdir()] == ["out.npz"]


def test_embed_writes_the_same_numbers_in_every_format(call, models, media, tmp_path):
    files = [tmp_path / f"out{suffix}" for suffix in (".npz", ".safetensors", ".jsonl")]
    for file in files:
        assert call("embed", media / "good", "-m", models / "videomae", "--out", file)[0] == 0
    with np.load(files[0]) as data:
        expected, names = data["video_embeddings"], data["videos"].tolist()
    with safe_open(files[1], framework="np") as data:
        assert np.array_equal(data.get_tensor("video_embeddings"), expected)
        assert json.loads(data.metadata()["videos"]) == names
    head, *lines = [json.loads(line) for line in files[2].read_text("utf-8").splitlines()]
    assert "manifest" in head
    assert [line["video"] for line in lines] == names
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), expected)


def test_embed_answers_the_good_ones_of_a_batch(call, models, media, tmp_path):
    out = tmp_path / "out.jsonl"
    code, _, err = call(
        "embed", media / "empty.mp4", media / "good/first.mp4", "-m", models / "viclip", "-o", out
    )
    assert code == 1
    assert "1 of 2 videos could not be used" in err
    assert len(out.read_text("utf-8").splitlines()) == 2


def test_embed_only_texts(call, models, tmp_path):
    out = tmp_path / "out.npz"
    assert (
        call("embed", "-t", "a star", "-t", "a circle", "-m", models / "viclip", "-o", out)[0] == 0
    )
    with np.load(out) as data:
        assert data["text_embeddings"].shape == (2, 16)
        assert data["videos"].size == 0


# --- models


def test_models_lists_filters_and_shows(call):
    code, out, _ = call("models", "*", "--json")
    assert code == 0
    everything = [json.loads(line) for line in out.splitlines()]
    assert len(everything) >= 160
    code, out, _ = call("models", "videomae-*", "--available", "--json")
    some = [json.loads(line) for line in out.splitlines()]
    assert 0 < len(some) < len(everything)
    assert all(card["status"] == "available" for card in some)
    code, out, _ = call("models", "--family", "viclip")
    assert code == 0
    assert "viclip" in out.lower()
    code, out, _ = call("models", "show", "viclip-l14")
    assert code == 0
    assert "InternVid" in out


def test_models_verify_tells_what_a_file_is(call, tmp_path):
    keys = tmp_path / "keys.txt"
    shapes = find_architecture("viclip").shapes(viclip_sizes["b16"])
    lines = [f"{name}\t{list(shape)}" for name, shape in shapes.items()]
    keys.write_text("\n".join(lines), encoding="utf-8")
    code, out, err = call("models", "verify", keys)
    assert (code, err) == (0, "")
    assert "viclip" in out
    assert "fit" in out
    keys.write_text("\n".join([*lines[1:], "something.else\t[3]"]), encoding="utf-8")
    code, out, err = call("models", "verify", keys, "--json")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert not answer["ok"]
    assert answer["missing"] == [next(iter(shapes))]
    assert list(answer["unexpected"]) == ["something.else"]


# --- world, recipes, train


def test_world_writes_either_format(call, tmp_path):
    code, out, err = call(
        "world", "-o", tmp_path / "k", "-n", 6, "--seed", 3, "--size", 32, "--workers", 1
    )
    assert (code, err) == (0, "")
    assert "6 clips" in out
    assert (tmp_path / "k/train.csv").is_file()
    assert len(list((tmp_path / "k/videos").glob("*.mp4"))) == 6
    code, out, _ = call("world", "-o", tmp_path / "m", "-n", 3, "-f", "msrvtt", "--workers", 1)
    assert code == 0
    assert (tmp_path / "m/MSRVTT_data.json").is_file()


def test_recipes_lists_them(call):
    from internvideo.recipe import list_recipes

    code, out, err = call("recipes")
    assert (code, err) == (0, "")
    for name in list_recipes():
        assert name in out


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optim.lrr=1", "lr"),
        ("optim.lr", "not of the form key.subkey=value"),
        ("optim.lr=fast", "optim.lr"),
        ("name.deep=1", "'name' is a value, not a group"),
    ],
)
def test_bad_overrides_of_a_recipe(call, tmp_path, override, told):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "name: small\ntask: {kind: masked}\nmodel: {}\ndata: {kind: world, num_clips: 4}\n",
        encoding="utf-8",
    )
    code, out, err = call("train", recipe, override, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert told in one_error_line(err)
    assert not (tmp_path / "run").exists()


# --- doctor, help, and the real process


def test_doctor_tells_what_there_is(call):
    from internvideo.zoo import list_models

    code, out, _ = call("doctor", "--json")
    findings = json.loads(out)
    assert {"python", "cpu", "gpu", "decoder", "cache", "embedded", "threads"} <= set(
        findings["facts"]
    )
    tests = {test["name"]: test["ok"] for test in findings["tests"]}
    assert tests["encode a clip"]
    assert tests["decode it frame-exactly"]
    has_default = "viclip-nano" in list_models()
    assert tests["run a model on it"] == has_default
    assert code == (0 if has_default else 1)


@pytest.mark.parametrize(
    "verb", ["classify", "caption", "embed", "world", "train", "recipes", "demo", "doctor"]
)
def test_every_verb_shows_an_example(call, verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert f"  internvideo {verb}" in out
    assert "Example" in out


@pytest.mark.parametrize("group", ["", "data", "models", "recipes", "index", "evaluate", "predict"])
def test_lists_of_verbs_have_whole_sentences(call, group):
    text = call(*group.split(), "--help")[1]
    verbs = " ".join(text.partition("Commands:")[2].split())
    assert verbs.endswith(".")
    assert "..." not in verbs


def test_without_a_verb_help_is_shown(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert "Start here:" in out
    assert call("--help")[1] == out
    assert "models verify" in call("models", "--help")[1]


def test_the_real_command_ends_without_a_traceback(models, media):
    line = [sys.executable, "-m", "internvideo", "classify", media / "text.mp4", *LABELS]
    done = subprocess.run(
        [*line, "-m", models / "viclip"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    one_error_line(done.stderr)


def test_a_reader_that_stops_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m internvideo models --json | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 2
    assert done.stdout.splitlines()[1] in ("0", "1")
    assert done.stderr == ""


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_the_command_asks_for_large_pages_unless_told_otherwise(monkeypatch, given, expected):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", given or "")
    if given is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    monkeypatch.setattr(application, "run", lambda: 0)
    with pytest.raises(SystemExit):
        application.main()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == expected


def test_a_terminal_without_utf_8_spells_out_what_it_cannot_show():
    done = subprocess.run(
        [sys.executable, "-m", "internvideo", "models", "videomae*"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2192" in done.stdout


def test_long_examples_of_the_help_go_on_as_a_shell_reads_them():
    line = 'internvideo classify world/ -l "something grows" -l "something shrinks" -m viclip-nano'
    text = command_help(f"Say it.\n\nExamples:\n  {line}\n  internvideo doctor")
    examples = text.split("Examples:\n")[1].splitlines()
    assert max(map(len, examples)) <= 76
    assert len(examples) == 3
    assert shlex.split("\n".join(examples[:2]).replace("\\\n", "")) == shlex.split(line)
    assert examples[2] == "  internvideo doctor"


def test_the_remaining_time_does_not_believe_a_burst(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    bars = Progress(console=Console(quiet=True))
    bar = ProgressBar(bars, "embedding")

    def left(seconds: float, done: int, *stage: str) -> str:
        now[0] = seconds
        bar.stage(*stage, done, 60) if stage else bar(done, 60)
        return bars.tasks[0].fields["left"]

    assert [left(30.0, 1), left(30.01, 2)] == ["0:29:30", "0:14:30"]  # a batch of two a half minute
    assert left(60.0, 4) == "0:14:00"
    assert left(100.0, 40, "resumed") == ""
    assert left(110.0, 41, "resumed") == "0:01:35"  # 39 were there before
