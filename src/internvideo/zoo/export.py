"""Our models as folders of transformers: weights in the layout "hf", and the JSON files beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from internvideo.errors import CheckpointError
from internvideo.files import replacing, write_whole
from internvideo.zoo.foreign import ACTIVATIONS, PREPROCESSOR_FILE, TORCH_EPS
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.load import official_state

__all__ = ["save_for_transformers"]


def save_for_transformers(loaded: LoadedModel, folder: Path) -> None:
    """Write a model as a folder that transformers' `from_pretrained` reads.

    Args:
        loaded: a VideoMAE or an image CLIP.
        folder: gets `config.json`, `model.safetensors` and `preprocessor_config.json`.

    Raises:
        CheckpointError: transformers' code cannot compute this model.
    """
    from safetensors.torch import save_file

    state = official_state(loaded.model, layout="hf")
    config, protocol = loaded.model.config, loaded.preprocessing
    is_clip = not loaded.architecture.startswith("videomae/")
    values = _clip_config(config) if is_clip else _videomae_config(loaded.architecture, config)
    if names := loaded.class_names:
        values["id2label"] = {str(number): name for number, name in enumerate(names)}
        values["label2id"] = {name: number for number, name in enumerate(names)}
    files = {"config.json": values}
    if protocol is not None:
        files[PREPROCESSOR_FILE] = {
            "image_processor_type": "CLIPImageProcessor" if is_clip else "VideoMAEImageProcessor",
            "size": {"shortest_edge": protocol.resize_size},
            "crop_size": {"height": protocol.crop_size, "width": protocol.crop_size},
            "image_mean": list(protocol.mean),
            "image_std": list(protocol.std),
        }
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(folder / "model.safetensors") as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    for name, content in files.items():
        write_whole(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _videomae_config(architecture: str, config: Any) -> dict[str, Any]:
    encoder = getattr(config, "encoder", config)
    pooling = getattr(config, "pooling", "mean")
    lacking = {
        "a convolutional stem": encoder.stem is not None,
        "a layer scale": bool(encoder.init_values),
        "cosine attention": encoder.cosine_attention,
        f"positions {encoder.positions!r}": encoder.positions == "learnable"
        or (encoder.position_grid != encoder.grid),
        f"pooling {pooling!r}": pooling not in ("mean", "first"),
        "no head": getattr(config, "num_classes", 1) == 0,
    }
    if found := [what for what, is_there in lacking.items() if is_there]:
        raise CheckpointError(
            f"transformers' VideoMAE has not {', '.join(found)}; layout 'official' has"
        )
    values = {
        "architectures": [_TRANSFORMERS_CLASSES[architecture]],
        "model_type": "videomae",
        "image_size": encoder.image_size,
        "patch_size": encoder.patch_size,
        "num_channels": encoder.num_channels,
        "num_frames": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_hidden,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.norm_eps,
        "qkv_bias": True,
        "use_mean_pooling": architecture == "videomae/classifier" and pooling == "mean",
    }
    if architecture == "videomae/pretraining":
        values |= {
            "decoder_hidden_size": config.decoder_width,
            "decoder_num_hidden_layers": config.decoder_depth,
            "decoder_num_attention_heads": config.decoder_num_heads,
            "decoder_intermediate_size": int(config.decoder_width * encoder.mlp_ratio),
            "norm_pix_loss": config.target == "normalized",
        }
    return values


_TRANSFORMERS_CLASSES = {
    "videomae/pretraining": "VideoMAEForPreTraining",
    "videomae/classifier": "VideoMAEForVideoClassification",
    "videomae/encoder": "VideoMAEModel",
}


def _clip_config(config: Any) -> dict[str, Any]:
    back = {ours: theirs for theirs, ours in ACTIVATIONS.items()}

    def tower(shape: Any) -> dict[str, Any]:
        return {
            "hidden_size": shape.width,
            "intermediate_size": 4 * shape.width,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.num_heads,
            "hidden_act": back[shape.activation],
            "layer_norm_eps": TORCH_EPS,
            "projection_dim": config.embed_dim,
        }

    vision, text = config.vision, config.text
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "vision_config": {
            **tower(vision),
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        "text_config": {
            **tower(text),
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            # transformers then pools at the largest id, as CLIP does
            "eos_token_id": 2,
            "bos_token_id": 0,
            "pad_token_id": 1,
        },
    }
