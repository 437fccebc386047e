"""Captions token by token: text tower and decoder as one `Writer`, each position computed once.

A step runs one position through both. What earlier positions offer is cached: keys and values of
all heads in the text tower, and one key and one value head (128 numbers a token for 64 channels)
in each layer of the decoder. What the layers read of the clip is computed once.

Shapes: b texts, n tokens of one, p tokens before it, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.models.caption_decoder import CaptionDecoder, ClipMemory
from internvideo.models.clip_text import CLIPTextEncoder
from internvideo.models.generation import Limits, Written, beam_search, greedy, nucleus
from internvideo.models.kv_cache import KeyValueCache
from internvideo.models.tokenizer import Tokenizer

__all__ = ["CaptionStrategy", "CaptionWriter", "complete_texts", "write_captions"]

CaptionStrategy = Literal["greedy", "beam", "top-p"]


class CaptionWriter:
    """Unfinished captions of a batch of clips; see `generation.Writer`.

    Args:
        text_encoder: the causal text tower.
        decoder: the caption decoder.
        memory: of the clips, from `decoder.read`, one caption each.
        max_length: positions that there is room for.
    """

    def __init__(
        self,
        text_encoder: CLIPTextEncoder,
        decoder: CaptionDecoder,
        memory: ClipMemory,
        *,
        max_length: int,
    ) -> None:
        self.text_encoder = text_encoder
        self.decoder = decoder
        self.memory = memory
        self.text_caches = [KeyValueCache(max_length) for _ in text_encoder.block_modules()]
        self.decoder_caches = [KeyValueCache(max_length) for _ in decoder.block_modules()]

    def step(self, ids: Int[Tensor, "b"]) -> Float[Tensor, "b v"]:
        """Put one token behind each text; return the logits of the token that follows it."""
        return self.decoder.predictor(self.extend(ids[:, None])[:, -1])

    def extend(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Put some tokens behind each text; return what the decoder makes of them."""
        tokens = self.text_encoder.extend(ids, self.text_caches)
        return self.decoder.decode(tokens, self.memory, self.decoder_caches)

    def reorder(self, rows: Int[Tensor, "r"]) -> None:
        """Let text i go on from what text `rows[i]` is so far; rows may repeat."""
        self.memory = self.memory.reorder(rows)
        for cache in (*self.text_caches, *self.decoder_caches):
            cache.reorder(rows)


def write_captions(
    text_encoder: CLIPTextEncoder,
    decoder: CaptionDecoder,
    tokenizer: Tokenizer,
    memory: ClipMemory,
    *,
    prompt: Int[Tensor, "b p"] | None = None,
    strategy: CaptionStrategy = "greedy",
    num_beams: int = 4,
    length_penalty: float = 0.0,
    top_p: float = 0.9,
    temperature: float = 1.0,
    max_length: int | None = None,
    generator: torch.Generator | None = None,
) -> list[Written]:
    """Write a caption for each clip; see `InternVideoMM.caption`.

    With a `prompt`, start token included, the text stands behind it and begins with a start token
    of its own.

    Raises:
        ConfigError: an unknown strategy, options out of their range, or a length that does not fit.
    """
    before = 0 if prompt is None else prompt.shape[1]
    longest = text_encoder.config.context_length - 1 - before
    length = longest if max_length is None else max_length
    if not 1 <= length <= longest:
        raise ConfigError(
            f"max_length {max_length} is not in 1 to {longest}: the context of the text tower is "
            f"{longest + 1 + before} tokens, the start token included"
            f"{f', of which the question takes {before}' if before else ''}"
        )
    limits = Limits(
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        max_length=length,
        banned=tokenizer.unwritten_ids,
    )
    writer = CaptionWriter(text_encoder, decoder, memory, max_length=before + length)
    batch, device = len(memory.keys[0]), memory.keys[0].device
    if prompt is not None:
        writer.extend(prompt)
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


def complete_texts(
    text_encoder: CLIPTextEncoder,
    decoder: CaptionDecoder,
    tokenizer: Tokenizer,
    memory: ClipMemory,
    prompts: Sequence[Sequence[int]],
) -> list[str]:
    """Write what follows each of some beginnings of any lengths; see `InternVideoMM.complete`."""
    device = memory.keys[0].device
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(place)
    texts = [""] * len(prompts)
    for places in by_length.values():
        written = write_captions(
            text_encoder,
            decoder,
            tokenizer,
            memory.reorder(torch.tensor(places, device=device)),
            prompt=torch.tensor([list(prompts[place]) for place in places], device=device),
        )
        for place, text in zip(places, written, strict=True):
            texts[place] = tokenizer.decode(text.ids).strip()
    return texts
