from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import types

import pytest
import torch
from torch import nn

from internvideo.errors import CheckpointError
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import hub
from internvideo.zoo import repository as repository_module
from internvideo.zoo.hub import LoadedModel, Record, save_pretrained, weights_sha256
from internvideo.zoo.load import load_model
from internvideo.zoo.registry import find_card
from zoo import tiny


@pytest.mark.parametrize("kind", tiny.MODELS)
def test_a_model_comes_back_as_it_was(tmp_path, kind):
    model = tiny.MODELS[kind]()
    preprocessing = dataclasses.replace(PRESETS["videomae-kinetics"], num_clips=7)
    provenance = {"recipe": "a", "numbers": [1, 2]}
    path = save_pretrained(
        model, tmp_path / "m", preprocessing=preprocessing, provenance=provenance
    )
    assert sorted(p.name for p in path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    back = LoadedModel.from_pretrained(path)
    assert type(back.model) is type(model)
    assert back.model.config == model.config
    assert back.architecture == kind.split(" ")[0]
    assert back.preprocessing == preprocessing
    assert back.record.provenance == provenance
    assert not back.model.training
    trained = [parameter.requires_grad for parameter in model.parameters()]
    assert [parameter.requires_grad for parameter in back.model.parameters()] == trained
    assert any(trained) is (kind != "unmasked-teacher/teacher")
    tiny.assert_same_weights(back.model, model)


def test_the_weights_do_not_hang_on_the_file(tmp_path):
    path = save_pretrained(tiny.classifier(), tmp_path)
    back = LoadedModel.from_pretrained(path)
    before = back.model.head.weight.clone()
    save_pretrained(tiny.randomised(tiny.classifier(), seed=1), path)  # over the old file
    assert torch.equal(back.model.head.weight, before)


def test_labels_tokenizer_and_card_are_kept(tmp_path):
    card = find_card("videomae-b16-ssv2")
    labels = tuple("abcde")
    LoadedModel(tiny.classifier(), Record(labels=labels, card=card)).save_pretrained(tmp_path / "c")
    back = LoadedModel.from_pretrained(tmp_path / "c")
    assert back.labels == labels
    assert back.card == card
    assert back.name == "videomae-b16-ssv2"
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert config["format"] == "internvideo/1"
    assert config["kind"] == "videomae/classifier"
    assert config["tokenizer"] is None
    save_pretrained(tiny.viclip_nano(), tmp_path / "v")
    assert json.loads((tmp_path / "v" / "config.json").read_text())["tokenizer"] == "WordTokenizer"
    ids = LoadedModel.from_pretrained(tmp_path / "v").tokenizer(["a dog"])
    assert torch.equal(ids, tiny.viclip_nano().tokenizer(["a dog"]))


def test_without_a_card_a_model_has_the_name_of_its_recipe(tmp_path):
    save_pretrained(tiny.viclip(), tmp_path / "mine", provenance={"recipe": "my-recipe"})
    assert LoadedModel.from_pretrained(tmp_path / "mine").name == "my-recipe"
    save_pretrained(tiny.viclip(), tmp_path / "other")
    assert LoadedModel.from_pretrained(tmp_path / "other").name == "viclip"


def test_the_readme_tells_protocol_and_provenance(tmp_path):
    save_pretrained(
        tiny.viclip(),
        tmp_path,
        preprocessing=PRESETS["viclip-eval"],
        provenance={"recipe": "world_viclip-nano"},
    )
    text = (tmp_path / "README.md").read_text()
    assert "library_name: internvideo" in text
    assert PRESETS["viclip-eval"].describe() in text
    assert "- recipe: world_viclip-nano" in text


def test_dtype_and_device_are_those_asked_for(tmp_path):
    path = save_pretrained(tiny.classifier().half(), tmp_path)
    assert LoadedModel.from_pretrained(path).model.head.weight.dtype == torch.float32
    back = LoadedModel.from_pretrained(path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in back.model.state_dict().values()} == {torch.bfloat16}


def test_whole_numbers_stay_whole_numbers(tmp_path):
    back = LoadedModel.from_pretrained(save_pretrained(tiny.viclip_nano(), tmp_path))
    counter = dict(back.model.named_buffers())["text_encoder.norm.num_batches_tracked"]
    assert counter.dtype == torch.int64


def broken(path, change):
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(kind="videomae/clasifier"), "Did you mean 'videomae/classifier'"),
        (lambda c: c.pop("kind"), "not written by this library"),
        (lambda c: c.pop("config"), "no 'config'"),
        (lambda c: c.update(format="internvideo/9"), "format 'internvideo/9'.*update"),
        (lambda c: c["config"].update(widht=64), "unknown key 'widht'.*'width'"),
        (lambda c: c["config"].update(num_heads=7), "not a multiple of num_heads 7"),
        (lambda c: c["config"].update(depth=3), "14 missing|13 missing: blocks.2"),
        (
            lambda c: c["config"].update(num_classes=6),
            r"head.weight \[5, 64\] instead of \[6, 64\]",
        ),
        (lambda c: c["config"].update(depth=1), "13 unexpected: blocks.1"),
        (
            lambda c: c["config"].update(image_size=1 << 20, positions="direct"),
            "position table of .* makes no sense",
        ),
        (lambda c: c.update(preprocessing={"frames": 3}), "preprocessing: unknown key 'frames'"),
        (lambda c: c.update(card={"name": "x", "colour": 1}), "unknown fields"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path, change, message):
    path = save_pretrained(tiny.classifier(), tmp_path)
    broken(path, change)
    with pytest.raises(CheckpointError, match=message):
        LoadedModel.from_pretrained(path)


def test_missing_and_unreadable_files_are_told(tmp_path):
    path = save_pretrained(tiny.classifier(), tmp_path / "m")
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_model(path)
    (path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        hub.read_directory(path)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        hub.read_directory(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path, value):
    model = tiny.classifier()
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[3, 4] = value
    path = save_pretrained(model, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"blocks\.1\.mlp\.fc1\.weight holds values that are not"
    ):
        LoadedModel.from_pretrained(path)


def test_a_model_of_another_kind_cannot_be_stored(tmp_path):
    with pytest.raises(CheckpointError, match="a Linear cannot be stored"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path)


def test_an_interrupted_save_leaves_the_old_files(tmp_path, monkeypatch):
    path = save_pretrained(tiny.classifier(), tmp_path)
    before = (path / "model.safetensors").read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError("no space")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_pretrained(tiny.randomised(tiny.classifier(), seed=3), path)
    assert (path / "model.safetensors").read_bytes() == before
    assert not list(path.glob(".*.tmp"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository "someone/tiny" that the hub's download function serves."""
    folder = save_pretrained(tiny.classifier(), tmp_path / "repository", labels=tuple("abcde"))
    asked = []

    def download(repo_id, filename, **options):
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError

        asked.append((repo_id, filename, options.get("local_files_only", False)))
        if repo_id.count("/") != 1:
            raise HFValidationError(repo_id)
        if repo_id != "someone/tiny":
            raise OSError(f"404: {repo_id}")
        target = tmp_path / "snapshot" / filename
        target.parent.mkdir(exist_ok=True)
        if not (folder / filename).exists():
            raise EntryNotFoundError(
                filename, response=types.SimpleNamespace(headers={}, request=None)
            )
        shutil.copy(folder / filename, target)
        return str(target)

    monkeypatch.setattr(repository_module, "hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    return folder, asked


def test_a_hub_id_is_fetched_and_loaded(repository):
    _, asked = repository
    loaded = load_model("someone/tiny")
    tiny.assert_same_weights(loaded.model, tiny.classifier())
    assert loaded.labels == tuple("abcde")
    assert [name for _, name, _ in asked] == ["config.json", "model.safetensors"]
    tiny.assert_same_weights(LoadedModel.from_pretrained("someone/tiny").model, loaded.model)


def test_offline_looks_into_the_hubs_cache_only(repository, monkeypatch):
    _, asked = repository
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    load_model("someone/tiny")
    assert all(local for _, _, local in asked)


def test_a_repository_that_cannot_be_had_is_told(repository):
    with pytest.raises(CheckpointError, match=r"'someone/else'.*hf auth login"):
        load_model("someone/else")
    with pytest.raises(CheckpointError, match="no such file or folder here"):
        load_model("someone/else")


def test_without_a_network_the_hubs_cache_is_asked_at_once(repository, monkeypatch):
    _, asked = repository

    def nowhere(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    load_model("someone/tiny")
    assert all(local for _, _, local in asked)
    asked.clear()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # a proxy knows more names
    load_model("someone/tiny")
    assert not any(local for _, _, local in asked)


def test_pushing_uploads_the_three_files(repository, monkeypatch):
    uploaded = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return types.SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, **_):
            uploaded[repo_id] = sorted(path.name for path in folder_path.iterdir())
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert LoadedModel(tiny.viclip()).push_to_hub("someone/new") == "https://hub/commit"
    assert uploaded == {"someone/new": ["README.md", "config.json", "model.safetensors"]}


def test_equal_weights_have_one_checksum_and_every_change_another():
    torch.manual_seed(0)
    one, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(twin)
    with torch.no_grad():
        twin.bias[1] += 1e-6
    assert weights_sha256(one) != weights_sha256(twin)
    assert weights_sha256(one.bfloat16()) != weights_sha256(twin)


def test_the_names_of_the_weights_count():
    layer = nn.Linear(2, 2)
    first, second = nn.ModuleDict({"a": layer}), nn.ModuleDict({"b": layer})
    assert weights_sha256(first) != weights_sha256(second)
