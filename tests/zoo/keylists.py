"""The official key lists: three are kept here, all are used where the references lie beside."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent / "keys"
BESIDE = Path(__file__).parents[3] / "shared" / "reference" / "keys"

# stem of the list -> architecture, size, and what else must be read off the shapes
EXPECTED = {
    "videomae-pretrain-b": ("videomae/pretraining", "B", {"decoder_depth": 4}),
    "videomae-pretrain-l": ("videomae/pretraining", "L", {"decoder_depth": 12}),
    "videomae-pretrain-h": ("videomae/pretraining", "H", {"decoder_depth": 8}),
    "videomae2-pretrain-g": ("videomae/pretraining", "g", {"decoder_depth": 4}),
    "videomae-b-k400": ("videomae/classifier", "B", {"num_classes": 400}),
    "videomae-b-k710": ("videomae/classifier", "B", {"num_classes": 710}),
    "videomae-b-ssv2": ("videomae/classifier", "B", {"num_classes": 174}),
    "videomae-l-k400": ("videomae/classifier", "L", {"num_classes": 400}),
    "videomae-l-k700": ("videomae/classifier", "L", {"num_classes": 700}),
    "videomae-l-ssv2": ("videomae/classifier", "L", {"num_classes": 174}),
    "videomae-h-k400-f32-res384": ("videomae/classifier", "H", {"num_classes": 400}),
    "videomae-h-ssv1": ("videomae/classifier", "H", {"num_classes": 174}),
    "videomae-h-hmdb51": ("videomae/classifier", "H", {"num_classes": 51}),
    "videomae2-s-k710-distill": ("videomae/classifier", "S", {"num_classes": 710}),
    "videomae2-b-k710-distill": ("videomae/classifier", "B", {"num_classes": 710}),
    "videomae2-g-k710": ("videomae/classifier", "g", {"num_classes": 710, "patch_size": 14}),
    "videomae2-g-k400": ("videomae/classifier", "g", {"num_classes": 400}),
    "videomae2-g-k600": ("videomae/classifier", "g", {"num_classes": 600}),
    "videomae2-g-ssv2": ("videomae/classifier", "g", {"num_classes": 174}),
    "ego4d_verb_pretrain_vitl_k700": ("videomae/classifier", "L", {"num_classes": 118}),
    "ego4d_noun_pretrain_vitl_k700": ("videomae/classifier", "L", {"num_classes": 582}),
    "openset_vit_base_edl_ucf101": ("videomae/classifier", "B", {"num_classes": 101}),
    "openset_vit_large_edl_ucf101": ("videomae/classifier", "L", {"num_classes": 101}),
    "openset_vit_huge_edl_ucf101": ("videomae/classifier", "H", {"num_classes": 101}),
    "viclip-b16": ("viclip", "b16", {"embed_dim": 512}),
    "viclip-l14": ("viclip", "l14", {"embed_dim": 768}),
    "openai_clip_vit_b16": ("openai-clip", "b16", {}),
    "openai_clip_vit_l14": ("openai-clip", "l14", {}),
    "openai_clip_vit_l14_336": ("openai-clip", "l14", {}),
}


def _lists() -> list[Path]:
    found = {path.stem: path for path in HERE.glob("*.txt")}
    found |= {path.stem: path for path in BESIDE.glob("*.txt")} if BESIDE.is_dir() else {}
    return [found[stem] for stem in EXPECTED if stem in found]


KEY_LISTS = _lists()
PLANNED_LISTS = [
    path
    for path in (sorted(BESIDE.glob("*.txt")) if BESIDE.is_dir() else [])
    if path.stem not in EXPECTED
]


def read(path: Path) -> dict[str, tuple[int, ...]]:
    """Read a key list by other means than the code under test."""
    pairs = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: tuple(map(int, re.findall(r"\d+", shape))) for name, shape in pairs}
