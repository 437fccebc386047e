from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

import tiny
from internvideo.cli import terminal
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.zoo import find_cards, load_model, save_pretrained

CONFIG = ViCLIPConfig(
    vision=ViCLIPVisionConfig(image_size=32, width=64, depth=1, num_heads=1, embed_dim=16),
    text=CLIPTextConfig(
        vocab_size=99, context_length=8, width=64, depth=1, num_heads=1, embed_dim=16
    ),
    embed_dim=16,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Return where a ViCLIP, an image CLIP (positions in time are zero) and a classifier lie."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in ("trained", "clip"):
        model = ViCLIP(CONFIG)
        if name == "trained":
            torch.nn.init.normal_(model.vision_encoder.temporal_positional_embedding)
        save_pretrained(model, root / name, preprocessing=tiny.PROTOCOL)
    tiny.save_classifier(root / "classifier")
    return root


def state(source: Path) -> dict[str, torch.Tensor]:
    return load_model(source).model.state_dict()


def test_there_and_back_nothing_changes(call, folders, tmp_path):
    """A folder becomes a file with the official names, which becomes the same folder."""
    file, back = tmp_path / "official" / "viclip.pth", tmp_path / "back"
    assert call("models", "convert", folders / "trained", "--official", "-o", file)[0] == 0
    official = torch.load(file, weights_only=True)
    assert "vision_encoder.transformer.resblocks.0.attn.in_proj_weight" in official
    code, out, err = call("models", "convert", file, "--out", back)
    assert (code, out.strip(), err) == (0, str(back), "")
    before, after = state(folders / "trained"), state(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_libraries_layouts(call, folders, tmp_path):
    """A CLIP becomes a folder for transformers and a file for open_clip, and comes back."""
    before = state(folders / "clip")
    for layout, name in (("hf", "hf"), ("open-clip", "clip.pt")):
        out = tmp_path / name
        line = ("models", "convert", folders / "clip", "--layout", layout, "-o", out)
        assert call(*line)[0] == 0
        back = state(out)
        assert all(torch.equal(before[name], back[name]) for name in before)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "clip"


def test_what_a_file_does_not_tell_is_said(call, folders, tmp_path):
    file = tmp_path / "clip.pt"
    call("models", "convert", folders / "clip", "--layout", "open-clip", "-o", file)
    code, out, _ = call("models", "verify", file)
    assert (code, "assumed" in out, "vision.activation=quick-gelu" in out) == (0, True, True)
    said = ("--set", "vision.activation=gelu", "--set", "text.activation=gelu")
    assert "assumed" not in call("models", "verify", file, *said)[1]
    assert call("models", "convert", file, *said, "-o", tmp_path / "gelu")[0] == 0
    assert load_model(tmp_path / "gelu").model.config.text.activation == "gelu"
    assert call("models", "verify", file, "--set", "vision.activation")[0] == 2


def test_the_average_says_how_it_was_made(call, folders, tmp_path):
    line = ("models", "average", folders / "trained", "--start", folders / "clip")
    code, out, err = call(*line, "--out", tmp_path / "averaged", "--weight", 0.25)
    assert (code, out.strip()) == (0, str(tmp_path / "averaged"))
    assert "38 tensors taken, 0 left, 1 new" in err
    trained, start, averaged = (
        state(folder) for folder in (folders / "trained", folders / "clip", tmp_path / "averaged")
    )
    name = "text_encoder.text_projection"
    torch.testing.assert_close(averaged[name], 0.25 * trained[name] + 0.75 * start[name])
    time = "vision_encoder.temporal_positional_embedding"
    assert torch.equal(averaged[time], trained[time])
    record = json.loads((tmp_path / "averaged" / "config.json").read_text(encoding="utf-8"))
    assert record["provenance"]["averaged"].startswith("0.25 of the trained weights")
    assert record["preprocessing"] is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("convert", "no-such-model", "-o", "{out}"), "no-such-model"),
        (("convert", "{root}/clip", "--official", "-o", "{root}"), "it is a folder"),
        (("convert", "viclip-nano", "--official", "-o", "{out}"), "of no released model"),
        (("average", "{root}/classifier", "-s", "{root}/clip", "-o", "{out}"), "two towers"),
        (("average", "{root}/trained", "-s", "{root}/classifier", "-o", "{out}"), "image CLIP"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, folders, tmp_path, arguments, told):
    words = [word.format(root=folders, out=tmp_path / "out") for word in arguments]
    code, out, err = call("models", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert told in err


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """Return a folder that serves as a mirror; the cache is empty."""
    monkeypatch.setenv("INTERNVIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INTERNVIDEO_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def test_several_are_downloaded_and_one_that_fails_stops_no_other(call, mirror):
    (mirror / "viclip-b16-internvid-10m-flt.pth").write_bytes(b"weights")
    code, out, err = call("models", "download", "viclip-l14", "viclip-b16", "viclip-nano")
    assert code == 2
    assert [Path(line).name for line in out.splitlines()] == [
        "viclip-b16-internvid-10m-flt.pth",
        "viclip-nano",
    ]
    assert err.startswith("error: viclip-l14-internvid-10m-flt: not in the cache")
    assert len(err.splitlines()) == 1
    code, out, err = call("models", "download", "viclip-b16", "viclip-b99")
    assert (code, out) == (2, "")  # nothing is fetched where a name is wrong
    assert "viclip-b99" in err


def test_the_list_begins_with_what_is_on_disk(call, mirror):
    (mirror / "viclip-b16-internvid-10m-flt.pth").write_bytes(b"weights")
    rows = [line.split() for line in call("models", "viclip*")[1].splitlines()]
    names = [row[0] for row in rows if row and row[0].startswith("viclip-")]
    assert names[:2] == ["viclip-b16-internvid-10m-flt", "viclip-nano"]


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_names_are_whole_at_every_width(call, monkeypatch, columns):
    wide = lambda *_: Console(width=columns, force_terminal=True, no_color=True)  # noqa: E731
    monkeypatch.setattr(terminal, "stdout_console", wide)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", call("models")[1]).splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) <= len(find_cards()) + 6  # a line each
    words = {word for line in lines for word in line.split()}
    assert {card.name for card in find_cards()} <= words


def test_a_pipe_gets_a_plain_row_for_each_model(call):
    rows = [line.split("\t") for line in call("models")[1].splitlines()]
    assert sorted(row[0] for row in rows) == sorted(card.name for card in find_cards())
    assert {len(row) for row in rows} == {6}


@pytest.mark.parametrize("name", [card.name for card in find_cards("*l14*")][:5])
def test_a_card_fits_80_columns(call, name):
    assert max(map(len, call("models", "show", name)[1].splitlines())) <= 80
