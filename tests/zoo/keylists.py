"""The official key lists: some are kept here, all are used where the references lie beside."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent / "keys"
BESIDE = Path(__file__).parents[3] / "shared" / "reference" / "keys"

UNIFORMER = "uniformerv2/classifier"
ACTIONFORMER = "actionformer"
DETECTOR = "videomae/action-detection"

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
    "openset_vit_base_edl_ucf101": ("open-set/classifier", "B", {"num_classes": 101}),
    "openset_vit_large_edl_ucf101": ("open-set/classifier", "L", {"num_classes": 101}),
    "openset_vit_huge_edl_ucf101": ("open-set/classifier", "H", {"num_classes": 101}),
    "umt-b16-k400-f8-r224": ("unmasked-teacher/classifier", "b16", {"num_classes": 400}),
    "umt-b16-k710-finetune-f8-r224": ("unmasked-teacher/classifier", "b16", {"num_classes": 710}),
    "umt-b16-mitv1-f8-r384": ("unmasked-teacher/classifier", "b16", {"image_size": 384}),
    "umt-b16-ssv2-f8-r224": ("unmasked-teacher/classifier", "b16", {"num_classes": 174}),
    "umt-l16-k400-f8-r224": ("unmasked-teacher/classifier", "l16", {"num_frames": 8}),
    "umt-l16-k400-f16-r224": ("unmasked-teacher/classifier", "l16", {"num_frames": 16}),
    "umt-l16-k710-finetune-f8-r224": ("unmasked-teacher/classifier", "l16", {"num_classes": 710}),
    "umt-l16-mitv1-f8-r384": ("unmasked-teacher/classifier", "l16", {"image_size": 384}),
    "uniformerv2_b16_k400_8x224": (UNIFORMER, "b16", {"num_classes": 400}),
    "uniformerv2_b16_k600_8x224": (UNIFORMER, "b16", {"num_classes": 600}),
    "uniformerv2_b16_k700_8x224": (UNIFORMER, "b16", {"num_classes": 700}),
    "uniformerv2_b16_k710_8x224": (UNIFORMER, "b16", {"num_classes": 710}),
    "uniformerv2_b16_mit_8x224": (UNIFORMER, "b16", {"num_classes": 339}),
    "uniformerv2_b16_ssv1_ssv2_16x224": (UNIFORMER, "b16-ssv", {"num_classes": 174}),
    "uniformerv2_l14_336_frozen_k400_8x336": (UNIFORMER, "l14-336-frozen", {"num_classes": 400}),
    "uniformerv2_l14_336_frozen_k600_8x336": (UNIFORMER, "l14-336-frozen", {"num_classes": 600}),
    "uniformerv2_l14_336_frozen_k700_8x336": (UNIFORMER, "l14-336-frozen", {"num_classes": 700}),
    "uniformerv2_l14_336_frozen_k710_8x336": (UNIFORMER, "l14-336-frozen", {"num_classes": 710}),
    "uniformerv2_l14_336_k400_8x336": (UNIFORMER, "l14-336", {"num_classes": 400}),
    "uniformerv2_l14_336_k600_8x336": (UNIFORMER, "l14-336", {"num_classes": 600}),
    "uniformerv2_l14_336_k700_8x336": (UNIFORMER, "l14-336", {"num_classes": 700}),
    "uniformerv2_l14_336_k710_8x336": (UNIFORMER, "l14-336", {"num_classes": 710}),
    "uniformerv2_l14_336_mit_8x336": (UNIFORMER, "l14-336", {"num_classes": 339}),
    "uniformerv2_l14_anet_hacs_16x224": (UNIFORMER, "l14", {"num_classes": 200}),
    "uniformerv2_l14_k400_8x224": (UNIFORMER, "l14", {"num_classes": 400}),
    "uniformerv2_l14_k600_8x224": (UNIFORMER, "l14", {"num_classes": 600}),
    "uniformerv2_l14_k700_8x224": (UNIFORMER, "l14", {"num_classes": 700}),
    "uniformerv2_l14_k710_8x224": (UNIFORMER, "l14", {"num_classes": 710}),
    "uniformerv2_l14_mit_8x224": (UNIFORMER, "l14", {"num_classes": 339}),
    "uniformerv2_l14_ssv1_ssv2_16x224": (UNIFORMER, "l14-ssv", {"num_classes": 174}),
    "viclip-b16": ("viclip", "b16", {"embed_dim": 512}),
    "viclip-l14": ("viclip", "l14", {"embed_dim": 768}),
    "umt-b16-k710-pretrain": ("unmasked-teacher/pretraining", "b16", {"target_width": 512}),
    "umt-l16-k710-pretrain": ("unmasked-teacher/pretraining", "l16", {"target_width": 768}),
    "umt-mm-b16-pretrain": ("unmasked-teacher/multimodal", "b16", {"embed_dim": 512}),
    "umt-mm-l16-pretrain": ("unmasked-teacher/multimodal", "l16", {"embed_dim": 768}),
    "umt-mm-b16-retrieval-finetune": ("unmasked-teacher/retrieval", "b16", {"alignment": False}),
    "umt-mm-l16-retrieval-finetune": ("unmasked-teacher/retrieval", "l16", {"teacher": None}),
    "clip-teacher-visual-b16": ("unmasked-teacher/teacher", "b16", {"image_size": 224}),
    "clip-teacher-visual-l14-r196": ("unmasked-teacher/teacher", "l14", {"image_size": 196}),
    "internvideo_mm_b16": ("internvideo-mm", "b16", {"decoder_depth": 4, "decoder_queries": 256}),
    "internvideo_mm_l14": ("internvideo-mm", "l14", {"decoder_depth": 4, "embed_dim": 768}),
    "internvideo-mm-b16-retrieval": ("internvideo-mm/retrieval", "b16", {"decoder_depth": 0}),
    "internvideo-mm-l14-retrieval": ("internvideo-mm/retrieval", "l14", {"decoder_depth": 0}),
    # (shapes do not tell data sets apart whose features and classes are as many)
    "actionformer-internvideo-thumos-c1280": (ACTIONFORMER, "thumos-videomae-h", {"width": 512}),
    "actionformer-internvideo-thumos-c1408": (ACTIONFORMER, "thumos-videomaev2-g", {}),
    "actionformer-internvideo-anet-c1280": (ACTIONFORMER, "anet-videomae-h", {"num_classes": 1}),
    "actionformer-internvideo-hacs-c1280": (ACTIONFORMER, "anet-videomae-h", {}),
    "actionformer-internvideo-hacs-c2560": (ACTIONFORMER, "hacs-2560", {"max_length": 2304}),
    "actionformer-internvideo-fineaction-c1280": (ACTIONFORMER, "anet-videomae-h", {}),
    "actionformer-internvideo-fineaction-c1408": (ACTIONFORMER, "fineaction-videomaev2-g", {}),
    "actionformer-release-thumos-i3d": (ACTIONFORMER, "thumos-i3d", {"input_dims": [2048]}),
    "actionformer-release-anet-tsp": (ACTIONFORMER, "anet-tsp", {"max_length": 192}),
    "actionformer-release-anet-i3d": (ACTIONFORMER, "anet-i3d", {"positions": True}),
    "actionformer-release-epic-slowfast-verb": (ACTIONFORMER, "epic", {"num_classes": 97}),
    "actionformer-release-epic-slowfast-noun": (ACTIONFORMER, "epic", {"num_classes": 300}),
    "actionformer-release-ego4d-egovlp": (ACTIONFORMER, "ego4d-egovlp", {"num_branch": 7}),
    "actionformer-release-ego4d-omnivore": (ACTIONFORMER, "ego4d-omnivore", {"windows": [9]}),
    "actionformer-release-ego4d-slowfast": (ACTIONFORMER, "ego4d-slowfast", {"num_branch": 6}),
    "actionformer-release-ego4d-slowfast-egovlp": (
        ACTIONFORMER,
        "ego4d-slowfast-egovlp",
        {"num_heads": 12},
    ),
    "actionformer-release-ego4d-omnivore-egovlp": (
        ACTIONFORMER,
        "ego4d-omnivore-egovlp",
        {"num_heads": 12},
    ),
    "actionformer-release-ego4d-slowfast-omnivore-egovlp": (
        ACTIONFORMER,
        "ego4d-slowfast-omnivore-egovlp",
        {"embed_dims": [256, 384, 384]},
    ),
    **{
        f"internvideo-mm-{size}-vqa-{data}": (
            "internvideo-mm/question-answering",
            size,
            {"num_classes": answers},
        )
        for size in ("b16", "l14")
        for data, answers in (("msrvttqa", 1501), ("msvdqa", 1001), ("tgif-frameqa", 1541))
    },
    **{
        f"vslnet-ego4d-nlq-bert-v{width}": ("vslnet", "ego4d-bert", {"video_width": width})
        for width in (1024, 2048, 2304)
    },
    "stal_vit_base_linear_80": (DETECTOR, "B", {"num_classes": 80}),
    "stal_vit_large_linear_80": (DETECTOR, "L", {"head": "linear"}),
    "stal_vit_huge_linear_80": (DETECTOR, "H", {"num_classes": 80}),
    "stal_vit_giant_p14_linear_80": (DETECTOR, "g", {"patch_size": 14}),
    "stal_vit_base_acar_80": (DETECTOR, "B-acar", {"head": "acar"}),
    "stal_vit_huge_acar_80": (DETECTOR, "H-acar", {"num_classes": 80}),
    "ego4d_scod_dino5scale_uniformer_large": ("dino/detector", "uniformer-l", {"num_classes": 1}),
    "ego4d_scod_dino5scale_swin_large": ("dino/detector", "swin-l", {"num_queries": 900}),
    "vln_hamt_policy_base": ("navigation/policy", "base", {"critic": True}),
    "vln_hamt_policy_large": ("navigation/policy", "large", {"video_width": 1024}),
    "vln_waypoint_predictor": ("navigation/waypoints", "released", {"depth": 2}),
    "vln_depth_ddppo_resnet50": ("navigation/depth", "resnet50", {"width": 32}),
    "ego4d_fhp_uniformer_base": ("uniformer/classifier", "B", {"num_classes": 20}),
    "ego4d_verb_uniformer_base_16x320_k600_ep9": (
        "uniformer/classifier",
        "B",
        {"num_classes": 118},
    ),
    "ego4d_sta_vit_large": ("videomae/anticipation", "L", {"num_verbs": 74}),
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
