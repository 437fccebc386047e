"""Captions of training clips on their way into a text tower, in the data worker."""

from __future__ import annotations

import logging

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import get_worker_info

from internvideo.data.samples import Sample
from internvideo.errors import DataError
from internvideo.models.tokenizer import Tokenizer, clean_caption, trim_padding
from internvideo.train.contrast import caption_ids

__all__ = ["CaptionInput"]

_LOG = logging.getLogger(__name__)


class CaptionInput:
    """Turns captions into token ids, and warns once of those that are longer than the context.

    Args:
        tokenizer: of the text tower.
        clean: lower case without punctuation.
    """

    def __init__(self, tokenizer: Tokenizer, *, clean: bool = False) -> None:
        self.tokenizer = tokenizer
        self.clean = clean
        self._warned = False

    def prepare(self, sample: Sample) -> dict[str, Tensor]:
        """Return `tokens` "l", an id of the caption, and what there is to know of its length.

        Equal captions have equal ids. `cut` marks a caption longer than the context, `host_length`
        is the number of its tokens.

        Raises:
            DataError: no caption, or one without words.
        """
        caption = self._caption(sample)
        tokens = self.tokenizer(caption)[0]
        return {
            "tokens": tokens,
            "host_length": torch.tensor(trim_padding(tokens[None]).shape[1]),
            "caption_id": caption_ids([caption])[0],
            "cut": torch.tensor(self._is_cut(caption, tokens)),
        }

    def _caption(self, sample: Sample) -> str:
        given = sample.caption or ""
        caption = clean_caption(given) if self.clean else given.strip()
        if not caption:
            found = "no caption" if not given.strip() else f"the caption {given!r}, without words"
            raise DataError(
                f"{sample.key or 'a clip'} has {found}; contrastive training needs one for each "
                "clip"
            )
        return caption

    def _is_cut(self, caption: str, tokens: Int[Tensor, "l"]) -> bool:
        if int(tokens.argmax()) < len(tokens) - 1:
            return False
        length = len(self.tokenizer.encode(caption)) + 2
        worker = get_worker_info()
        if length > len(tokens) and not self._warned and (worker is None or worker.id == 0):
            self._warned = True
            _LOG.warning(
                "a caption of %d tokens is cut to the context of %d: %.60r…; the log has the share "
                "of such captions as `cut`",
                length,
                len(tokens),
                caption,
            )
        return length > len(tokens)
