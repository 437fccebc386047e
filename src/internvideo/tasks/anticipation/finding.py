"""A network asked what will be done with the objects in boxes, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from internvideo.annotations import NextContact
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.models.contract import has
from internvideo.tasks.anticipation.clips import sides_of
from internvideo.zoo.hub import LoadedModel, weights_sha256

__all__ = ["ContactFinder"]

Found = tuple[NextContact, ...]


class ContactFinder(Answerer[Found]):
    """Tells verb and seconds of the objects in boxes at the end of clips; the surest first.

    Args:
        model: a `ContactAnticipator`.
        asked: by number of the clip, the boxes with their nouns and scores, which stay as they are.
        sizes: by number of the clip, width and height of the picture that its boxes are of.

    Raises:
        ConfigError: the model is another one.
    """

    def __init__(
        self,
        model: LoadedModel,
        asked: Mapping[int, Found] | Sequence[Found],
        sizes: Mapping[int, tuple[int, int]] | Sequence[tuple[int, int]],
    ) -> None:
        if not has(model.model, "contacts"):
            raise ConfigError(
                f"{model.name} does not anticipate contacts; give a model such as one that the "
                "recipe world_contacts-nano trained"
            )
        super().__init__(model.model, model.protocol)
        self.asked = asked
        self.sizes = sizes

    def describe(self) -> str:
        """Say how clips are looked at."""
        protocol = self.protocol
        return (
            f"{protocol.num_frames} frames stride {protocol.frame_stride} up to the boxes, short "
            f"side {protocol.resize_size}, whole pictures"
        )

    def answer(self, batch: Batch) -> list[Found]:
        """Return the objects of each clip; clips of one size go through the model together."""
        found: dict[int, Found] = {}
        videos = sorted(batch.videos, key=lambda each: tuple(each.views.shape))
        for _, same in groupby(videos, key=lambda each: tuple(each.views.shape)):
            members = list(same)
            for start in range(0, len(members), batch.size):
                part = members[start : start + batch.size]
                clips = torch.cat([each.views for each in part])
                boxes = [self._boxes(each.index, clips) for each in part]
                rois = [F.pad(held, (1, 0), value=float(n)) for n, held in enumerate(boxes)]
                with torch.no_grad(), batch.precision():
                    verbs, seconds = self.network(
                        clips.to(batch.device, batch.dtype), torch.cat(rois).to(batch.device)
                    )
                counts = [len(held) for held in boxes]
                rows = verbs.float().argmax(dim=1).cpu().split(counts)
                times = seconds.float()[:, 0].cpu().split(counts)
                for each, verb, time in zip(part, rows, times, strict=True):
                    found[each.index] = _joined(self.asked[each.index], verb, time)
        return [found[each.index] for each in batch.videos]

    def _boxes(self, index: int, clips: Tensor) -> Float[Tensor, "n 4"]:
        """Return the boxes of a clip in its pixels."""
        return sides_of(self.asked[index], self.sizes[index], (clips.shape[-1], clips.shape[-2]))

    def to_json(self, answer: Found) -> dict[str, Any]:
        """Return an answer as plain data; seconds have three digits."""
        return {
            "contacts": [
                {
                    "box": list(each.box),
                    "noun": each.noun,
                    "verb": each.verb,
                    "seconds": round(each.seconds or 0.0, 3),
                    "score": each.score,
                }
                for each in answer
            ]
        }

    def from_json(self, line: dict[str, Any]) -> Found:
        """Return the answer in a line."""
        held: list[dict[str, Any]] = line["contacts"]
        fields: list[dict[str, Any]] = [{**each, "box": tuple(each["box"])} for each in held]
        return tuple(NextContact(**each) for each in fields)

    def identity(self) -> dict[str, Any]:
        """Return what the answers depend on."""
        return {
            "weights": weights_sha256(self.network),
            "protocol": self.protocol.to_dict(),
            "num_boxes": sum(map(len, self.asked)) if isinstance(self.asked, Sequence) else 0,
        }


def _joined(asked: Found, verbs: Tensor, seconds: Tensor) -> Found:
    parts = zip(asked, as_list(verbs), as_list(seconds), strict=True)
    found = [replace(each, verb=verb, seconds=time) for each, verb, time in parts]
    return tuple(sorted(found, key=lambda each: -each.score))
