"""Captions token by token: text tower and decoder as one `Writer`, each position computed once.

A step runs one position through both. What earlier positions offer is cached: keys and values of
all heads in the text tower, and one key and one value head (128 numbers a token for 64 channels)
in each layer of the decoder. What the layers read of the clip is computed once.

Shapes: b texts, n video tokens, v vocabulary.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.models.caption_decoder import CaptionDecoder
from internvideo.models.clip_text import CLIPTextEncoder
from internvideo.models.generation import Limits, Written, beam_search, greedy, nucleus
from internvideo.models.kv_cache import KeyValueCache
from internvideo.models.tokenizer import Tokenizer

__all__ = ["CaptionStrategy", "CaptionWriter", "write_captions"]

CaptionStrategy = Literal["greedy", "beam", "top-p"]


class CaptionWriter:
    """Unfinished captions of a batch of clips; see `generation.Writer`.

    Args:
        text_encoder: the causal text tower.
        decoder: the caption decoder.
        video: tokens of the clips, one caption each.
        max_length: positions that there is room for.
    """

    def __init__(
        self,
        text_encoder: CLIPTextEncoder,
        decoder: CaptionDecoder,
        video: Float[Tensor, "b n w"],
        *,
        max_length: int,
    ) -> None:
        self.text_encoder = text_encoder
        self.decoder = decoder
        self.memory = decoder.read(video)
        self.text_caches = [KeyValueCache(max_length) for _ in text_encoder.block_modules()]
        self.decoder_caches = [KeyValueCache(max_length) for _ in decoder.block_modules()]

    def step(self, ids: Int[Tensor, "b"]) -> Float[Tensor, "b v"]:
        """Put one token behind each text; return the logits of the token that follows it."""
        tokens = self.text_encoder.extend(ids[:, None], self.text_caches)
        features = self.decoder.decode(tokens, self.memory, self.decoder_caches)
        return self.decoder.predictor(features[:, -1])

    def reorder(self, rows: Int[Tensor, "r"]) -> None:
        """Let text i go on from what text `rows[i]` is so far; rows may repeat."""
        self.memory = self.memory.reorder(rows)
        for cache in (*self.text_caches, *self.decoder_caches):
            cache.reorder(rows)


def write_captions(
    text_encoder: CLIPTextEncoder,
    decoder: CaptionDecoder,
    tokenizer: Tokenizer,
    video: Float[Tensor, "b n w"],
    *,
    strategy: CaptionStrategy = "greedy",
    num_beams: int = 4,
    length_penalty: float = 0.0,
    top_p: float = 0.9,
    temperature: float = 1.0,
    max_length: int | None = None,
    generator: torch.Generator | None = None,
) -> list[Written]:
    """Write a caption for each clip; see `InternVideoMM.caption`.

    Raises:
        ConfigError: an unknown strategy, options out of their range, or a length that does not fit.
    """
    longest = text_encoder.config.context_length - 1
    length = longest if max_length is None else max_length
    if not 1 <= length <= longest:
        raise ConfigError(
            f"max_length {max_length} is not in 1 to {longest}: the context of the text tower is "
            f"{longest + 1} tokens, the start token included"
        )
    limits = Limits(
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        max_length=length,
        banned=tokenizer.unwritten_ids,
    )
    writer = CaptionWriter(text_encoder, decoder, video, max_length=length)
    batch, device = len(video), video.device
    try:
        match strategy:
            case "greedy":
                return greedy(writer, limits, batch=batch, device=device)
            case "beam":
                return beam_search(
                    writer,
                    limits,
                    batch=batch,
                    device=device,
                    num_beams=num_beams,
                    length_penalty=length_penalty,
                )
            case "top-p":
                return nucleus(
                    writer,
                    limits,
                    batch=batch,
                    device=device,
                    top_p=top_p,
                    temperature=temperature,
                    generator=generator,
                )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    known = ", ".join(get_args(CaptionStrategy))
    raise ConfigError(f"strategy {strategy!r} is not one of {known}")
