"""`internvideo reconstruct`."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from internvideo.cli.options import Card, Device, model_names
from internvideo.cli.terminal import output_file

__all__ = ["reconstruct"]


class Mask(str, Enum):
    """Which tokens are hidden."""

    tube = "tube"
    random = "random"


def reconstruct(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A file or URL.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name, file, folder or hub id of a masked autoencoder.",
            autocompletion=model_names,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .png (a grid) or .mp4.")
    ] = Path("reconstruction.png"),
    mask: Annotated[
        Mask, typer.Option(help="Hide the same places in all frames, or any places.")
    ] = Mask.tube,
    mask_ratio: Annotated[float, typer.Option(help="Share of the clip to hide.")] = 0.75,
    seed: Annotated[int, typer.Option(min=0, help="Another seed hides other places.")] = 0,
    card: Card = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Device = "auto",
) -> None:
    """Hide most of a clip and show how a masked autoencoder fills it in.

    The picture has three rows: the original, what the model saw of it, and what it made up. Half or
    less of a clip of the procedural world is enough for videomae-nano-pretrain, which ships with
    the package; the large models were trained with 0.9. A model to which a whole frame is one token
    (recipe world_videomae-nano) needs --mask random.

    Examples:
      internvideo reconstruct clip.mp4 -m videomae-nano-pretrain --mask-ratio 0.5
      internvideo reconstruct clip.mp4 -m videomae-b16-hybrid-pt --out filled.png
      internvideo reconstruct clip.mp4 -m runs/mine/model --mask-ratio 0.9 --out filled.mp4
    """
    from internvideo.pipeline import load
    from internvideo.tasks.masked.viewer import check_ending, reconstruct_video

    output_file(check_ending(out))
    loaded = load(model, device=device, card=card).loaded
    result = reconstruct_video(loaded, video, mask=mask.value, mask_ratio=mask_ratio, seed=seed)
    result.save(out)
    if as_json:
        print(json.dumps({**result.to_json(), "video": video, "out": str(out)}))
    else:
        print(f"{result.title}: {out}")
