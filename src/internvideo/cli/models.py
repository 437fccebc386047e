"""`internvideo models`: the table of all models, and what is known about one, or about a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from internvideo.cli.options import Card as CardOption
from internvideo.cli.options import model_names
from internvideo.cli.terminal import (
    DefaultVerb,
    add_verb,
    command_help,
    counted,
    error_line,
    output_file,
    output_folder,
    print_rows,
    stdout_console,
)
from internvideo.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    UnknownNameError,
    did_you_mean,
)
from internvideo.files import replacing

if TYPE_CHECKING:
    from internvideo.zoo.card import Card

__all__ = ["app"]

_STATES = ("on disk", "embedded", "pip install", "available", "planned")
_ONLY_IF_WIDE = ("training data", "published", "input")
_CARD_WIDTH = 80


class _OrList(DefaultVerb):
    default = "list"


app = typer.Typer(
    cls=_OrList,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=command_help(
        """List the models, or identify a file.

        Examples:
          internvideo models
          internvideo models "videomae-*k400*" --available
          internvideo models show viclip-nano
          internvideo models verify checkpoint.pth
          internvideo models download viclip-l14
          internvideo models convert k400.pth --out videomae-k400
          internvideo models export runs/mine/model --out mine.onnx
          internvideo models average runs/mine/model --start openai-clip-vit-b-16 --out averaged
        """
    ),
)


def list_all(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Shell pattern of names, such as '*k400*'.", autocompletion=model_names
        ),
    ] = "*",
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    available: Annotated[
        bool, typer.Option("--available", help="Only models that are implemented.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the table of all models (the verb may be left out).

    Those on this disk come first: "embedded" models are part of the package, "on disk" ones were
    downloaded. "pip install" ones are made of Python packages, those of the extra `offline`;
    "available" ones are loaded by name, which downloads them, or from a file; "planned" ones are
    not implemented yet.

    Examples:
      internvideo models
      internvideo models "videomae-*k400*" --available
    """
    from internvideo.zoo import find_cards

    cards = find_cards(pattern, family=family, available=True if available else None)
    if not cards:
        raise UnknownNameError(_no_match(pattern))
    cards.sort(key=lambda card: _STATES.index(_state(card)))
    if as_json:
        for card in cards:
            print(json.dumps(_card_values(card), ensure_ascii=False))
        return
    rows = [_row(card) for card in cards]
    print_rows(
        list(rows[0]), [[*row.values()] for row in rows],
        title=counted(len(cards), "model"), spare=_ONLY_IF_WIDE, cut=("family",),
    )  # fmt: skip


def show(
    name: Annotated[
        str, typer.Argument(help="Name or alias of a model.", autocompletion=model_names)
    ],
) -> None:
    """Print what is known about one model: data, published results, input, links, licence.

    Example:
      internvideo models show viclip-l14
    """
    from rich.markup import escape
    from rich.table import Table

    from internvideo.zoo import find_card
    from internvideo.zoo.registry import bibtex

    card = find_card(name)
    table = Table(title=escape(card.name), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in _card_values(card).items():
        table.add_row(title.replace("_", " "), escape(_in_words(value)))
    console = stdout_console(_CARD_WIDTH)
    console.print(table)
    if citation := bibtex(card):
        console.print(escape(citation))


_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="For a weight file: what its shapes do not tell, such as num_frames=32; repeatable.",
    ),
]


def verify_file(
    file: Annotated[
        str, typer.Argument(help="A checkpoint, a folder, a run directory, or a list of names.")
    ],
    settings: _Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Identify the model in a file, and list what does not fit.

    The exit code is 0 only when everything fits, 1 when something does not, and 2 when the file
    cannot be read. A list has lines of `name<TAB>[shape]`, so that a checkpoint can be recognised
    where it lies.

    Examples:
      internvideo models verify checkpoint.pth
      internvideo models verify umt.pth --set num_frames=32
    """
    from internvideo.zoo import verify

    answer = verify(file, config=_fields(settings))
    if as_json:
        print(answer.to_json())
    else:
        stdout_console().print(answer)
    raise typer.Exit(0 if answer.ok else 1)


def download_weights(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="Names or aliases of models.", autocompletion=model_names
        ),
    ],
) -> None:
    """Fetch the weights of models into the cache, and print where they are.

    A broken transfer is resumed, and the file is checked. INTERNVIDEO_MIRROR names a mirror, a URL
    or a folder; INTERNVIDEO_CACHE the folder of the cache. The other verbs do the same when they
    are given a name for the first time. Of several models, one that cannot be had does not stop the
    others.

    Examples:
      internvideo models download viclip-b16
      internvideo models download offline-objects videomae-b16-k400
    """
    from internvideo.zoo import fetch, find_card

    code = 0
    for card in [find_card(name) for name in names]:
        try:
            print(fetch(card), flush=True)
        except (CheckpointError, MissingExtraError) as error:
            code = error_line(str(error))
    raise typer.Exit(code)


def convert_weights(
    source: Annotated[
        str,
        typer.Argument(help="Name, file, folder or hub id of a model.", autocompletion=model_names),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; with --layout other than hf a .pth file.")
    ],
    card: CardOption = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Write the tensors as others have them: official, hf (a folder for transformers),"
            " mmaction2, open-set, open-clip."
        ),
    ] = None,
    official: Annotated[
        bool, typer.Option("--official", help="Short for --layout official: the authors' code.")
    ] = False,
    settings: _Settings = None,
) -> None:
    """Write a model as a folder that `load` reads, or in the layout of another library.

    All ways keep every number: a released file that is converted and converted back is the same.

    Examples:
      internvideo models convert k400_vit_b.pth --card videomae-b16-k400 --out videomae-k400
      internvideo models convert runs/mine/model --layout hf --out mine-hf
      internvideo models convert runs/mine/model --official --out mine.pth
    """
    import torch

    from internvideo.zoo import load_model, official_state
    from internvideo.zoo.export import save_for_transformers
    from internvideo.zoo.identify import identify

    layout = "official" if official else layout
    _ = output_file(out) if layout not in (None, "hf") else output_folder(out)
    loaded = load_model(source, card=card, config=_fields(settings))
    if layout is None:
        loaded.save_pretrained(out)
    elif layout == "hf":
        save_for_transformers(loaded, out)
    else:
        state = official_state(loaded.model, layout=layout)
        try:
            identify({name: tuple(tensor.shape) for name, tensor in state.items()})
        except CheckpointError:
            raise CheckpointError(
                f"{loaded.name} has the shape of no released model; leave out"
                f" {'--official' if official else '--layout'}"
            ) from None
        with replacing(out) as draft, draft.open("wb") as file:
            torch.save(state, file)
    print(out)


def export_graph(
    model: Annotated[
        str,
        typer.Argument(help="Name, file, folder or hub id of a model.", autocompletion=model_names),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .onnx or .pt2.")],
    format: Annotated[
        Literal["onnx", "torch"] | None,
        typer.Option(help="ONNX, or a program for torch.export.load; else by the ending."),
    ] = None,
    part: Annotated[
        Literal["video", "text"], typer.Option(help="Which tower, of a model with two.")
    ] = "video",
    card: CardOption = None,
) -> None:
    """Write a model as a graph with a free batch, for programs without this library.

    Its input are normalised clips, or tokens of sentences; the input protocol and the class names
    lie in the file as JSON. The file is opened again, in ONNX Runtime or PyTorch, and its largest
    difference to the model is printed; a graph that computes something else is not written.

    Examples:
      internvideo models export videomae-nano --out nano.onnx
      internvideo models export runs/mine/model --out mine.pt2
      internvideo models export viclip-b16 --part text --out text.onnx
    """
    from internvideo.zoo import graph as graphs
    from internvideo.zoo import load_model

    output_file(out)
    graphs.check_format(out, format)
    print(graphs.export_graph(load_model(model, card=card), out, format=format, part=part))


def _fields(settings: list[str] | None) -> dict[str, Any]:
    """Return FIELD=VALUE pairs as a mapping; values are read as YAML."""
    import yaml

    fields = {}
    for each in settings or ():
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"--set takes FIELD=VALUE, got {each!r}")
        fields[name] = yaml.safe_load(value)
    return fields


def average(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Names, folders, files or hub ids of models.",
            autocompletion=model_names,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the averaged model.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            "-s",
            help="The image CLIP that the training started from.",
            autocompletion=model_names,
        ),
    ] = None,
    weight: Annotated[
        float,
        typer.Option(
            "--weight", "-w", min=0, max=1, help="Share of the trained weights, beside it."
        ),
    ] = 0.5,
    rule: Annotated[
        Literal["zero-shot", "retrieval"],
        typer.Option("--for", help="Benchmark whose published average this is (InternVideo-MM)."),
    ] = "zero-shot",
) -> None:
    """Average a trained ViCLIP or InternVideo-MM with its start (WiSE-FT), or several models.

    The published zero-shot numbers of both are those of such averages, with weight 0.5, for
    retrieval on MSVD 0.75. Several models of one shape become their mean, without or before the
    start.

    Examples:
      internvideo models average runs/mine/model --start openai-clip-vit-b-16 --out averaged
      internvideo models average internvideo-mm-l14 -s openai-clip-vit-l-14 --for retrieval -o m
      internvideo models average runs/one/model runs/two/model --out mean
    """
    from internvideo.zoo import average_models, average_with_start, load_model
    from internvideo.zoo.starts import TwoTowers

    output_folder(out)
    if start is None and len(models) < 2:
        raise ConfigError("one model has no average: give several, or --start")
    loaded, *others = [load_model(model) for model in models]
    how = f"the mean of {', '.join(models)}" if others else "the trained weights"
    if others:
        loaded.model.load_state_dict(average_models([loaded.model, *(o.model for o in others)]))
    if start is not None:
        if not isinstance(loaded.model, TwoTowers):
            raise CheckpointError(
                f"{loaded.name} does not have two towers; give a ViCLIP or an InternVideo-MM"
            )
        average_with_start(loaded.model, start, weight=weight, rule=rule)
        how = f"{weight:g} of {how}, the rest of {start} (for {rule})"
    provenance = {**loaded.record.provenance, "averaged": how}
    loaded.with_record(provenance=provenance, card=None).save_pretrained(out)
    print(out)


for _verb, _function in {
    "list": list_all,
    "show": show,
    "verify": verify_file,
    "download": download_weights,
    "convert": convert_weights,
    "export": export_graph,
    "average": average,
}.items():
    add_verb(app, _verb, _function)


def _no_match(pattern: str) -> str:
    from internvideo.zoo import find_cards

    known = [name for card in find_cards() for name in (card.name, *card.aliases)]
    return f"no model matches '{pattern}'.{did_you_mean(pattern, known)}"


def _state(card: Card) -> str:
    """Return one of `_STATES`."""
    from internvideo.zoo import on_disk

    if card.embedded:
        return "embedded"
    if card.is_available and on_disk(card) is not None:
        return "on disk"
    return "pip install" if card.packages else card.status


def _row(card: Card) -> dict[str, str]:
    """Return the cells of a row by their headings."""
    data = " → ".join(each for each in (card.training_data, card.finetune_data) if each)
    metric = card.metrics[0] if card.metrics else None
    published = f"{metric.dataset} {metric.metric} {metric.value}" if metric else ""
    cells = {"name": card.name, "status": _state(card), "family": card.family}
    cells |= {"training data": data, "input": card.input or "", "published": published}
    return cells


def _card_values(card: Card) -> dict[str, Any]:
    """Return the fields of a card that say something, as plain values."""
    from dataclasses import asdict

    values = {name: value for name, value in asdict(card).items() if name != "directory"}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value not in ("", (), [], {}, False)
    }


def _in_words(value: Any) -> str:
    """Return a value of a card as text, one line for each of several."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_in_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(
            ", ".join(f"{k} {v}" for k, v in item.items() if v is not None)
            if isinstance(item, dict)
            else str(item)
            for item in value
        )
    return str(value)
