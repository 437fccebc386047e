"""What the interaction of two encoders costs: counted at published size, timed at base size.

Operations are counted on the meta device, by PyTorch's counter, for one clip: the whole model
against its encoders alone. The time is that of ViT-B beside UniFormerV2-B with modules of the same
kind, in both wirings, against the two encoders one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from harness import Row, measure, parse_arguments, report
from torch.utils.flop_counter import FlopCounterMode

from internvideo.models import classifier, uniformerv2_classifier
from internvideo.models.interaction import SIZES, InternVideo, InternVideoConfig

PAPER = {"d": "1.0 B", "t": "1.3 B"}


def counted(size: str) -> str:
    """Return parameters and operations of a published size, and the share of the interaction."""
    with torch.device("meta"):
        model = InternVideo(SIZES[size]).eval()
        [clip] = model.example_inputs(1)
        with FlopCounterMode(display=False) as whole:
            model(clip)
        with FlopCounterMode(display=False) as apart:
            for encoder, view in zip(model.frozen.values(), model.views(clip), strict=True):
                encoder(view)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    total, encoders = whole.get_total_flops(), apart.get_total_flops()
    return (
        f"InternVideo-{size.upper()}: {parameters / 1e9:.2f} B parameters (paper: {PAPER[size]}), "
        f"{total / 2e12:.2f} TMAC a clip, encoders {encoders / 2e12:.2f}, "
        f"interaction +{100 * (total / encoders - 1):.1f} %"
    )


def base(quick: bool) -> InternVideoConfig:
    """Return the pair of base size; quickly, with frames of 64 pixels."""
    side = 64 if quick else 224
    towers = {
        "masked": replace(classifier.SIZES["B"], image_size=side),
        "multimodal": replace(uniformerv2_classifier.SIZES["b16"], image_size=side),
    }
    shape = SIZES["d"]
    return replace(
        shape,
        **{
            name: replace(getattr(shape, name), encoder=encoder) for name, encoder in towers.items()
        },
    )


def main() -> None:
    """Count, then measure."""
    quick = parse_arguments(__doc__ or "").quick
    for size in SIZES:
        print(counted(size))
    torch.manual_seed(0)
    models = {w: InternVideo(replace(base(quick), wiring=w)).eval() for w in ("insert", "side")}
    [clip] = models["side"].example_inputs(1)

    def apart() -> None:
        model = models["side"]
        for encoder, view in zip(model.frozen.values(), model.views(clip), strict=True):
            encoder(view)

    contestants: dict[str, Callable[[], object]] = {"encoders": apart}
    contestants |= {name: (lambda model=model: model(clip)) for name, model in models.items()}
    with torch.inference_mode():
        seconds = measure(contestants, repeats=3 if quick else 7)
    rows = [
        Row(
            case=f"ViT-B and UniFormerV2-B, {name}",
            ours=seconds[name],
            peer=seconds["encoders"],
            peer_name="the encoders alone",
        )
        for name in models
    ]
    report("interaction", rows)


if __name__ == "__main__":
    main()
