"""What will be done with an object, and when: heads on boxes of a `VideoViT`.

    clip ──► VideoViT ──► mean over time ──► RoIAlign ──► max ──┬──────────────► verb
                                             box ──► sinusoid ──┴─► + ──► softplus, seconds

Names of the weights are those of the reference's state dict (list `ego4d_sta_vit_large`).

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; d width, n boxes of all
clips, k verbs and one more class.

Source: Chen et al. (2022), InternVideo-Ego4D, arXiv 2211.09529, short-term anticipation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.models import vit
from internvideo.models.action_detector import box_example, roi_align, time_mean
from internvideo.models.layers import init_module
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = ["SIZES", "ContactAnticipator", "ContactAnticipatorConfig", "box_embedding"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactAnticipatorConfig(VideoViTConfig):
    """Shape of a `ContactAnticipator`: that of its encoder, and its heads.

    Attributes:
        num_verbs: classes; the head has one more, of no verb.
        roi_size: bins of a box along each side, over which the maximum is taken.
        roi_stride: pixels of the clip for one place of the map.
        ttc_box_embedding: whether the time to contact is told where the box is. COMPAT: the
            published model is trained with it, and its evaluation leaves it out.
    """

    num_verbs: int = 74
    roi_size: int = 7
    roi_stride: int = 16
    ttc_box_embedding: bool = True


def box_embedding(boxes: Float[Tensor, "n 4"], width: int) -> Float[Tensor, "n d"]:
    """Return the sum of the sinusoids of the four sides of each box, cut to whole pixels.

    The sinusoid is that of `positions.sinusoid_table`; rows and columns share it. A side left of or
    above the picture counts as 0.
    """
    sides = boxes.detach().long().clamp(min=0).double()
    channel = torch.arange(width, device=boxes.device)
    frequency = 10000.0 ** (-2.0 * (channel // 2).double() / width)
    angle = sides[:, :, None] * frequency
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float().sum(dim=1)


class _BoxHead(nn.Module):
    def __init__(self, width: int, num_verbs: int) -> None:
        super().__init__()
        self.verb_projection = nn.Linear(width, num_verbs + 1)
        self.ttc_projection = nn.Linear(width, 1)


class ContactAnticipator(VideoViT):
    """Tells verbs and times to contact of boxes; call it with normalised clips and boxes."""

    capabilities = frozenset({"features", "embed", "contacts"})
    config: ContactAnticipatorConfig
    linear_init = partial(nn.init.trunc_normal_, std=0.02)

    def __init__(self, config: ContactAnticipatorConfig) -> None:
        super().__init__(config)
        self.ROIHEAD = _BoxHead(config.width, config.num_verbs)
        self.reset_head()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        self.reset_head()

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw the heads anew."""
        for module in self.ROIHEAD.modules():
            init_module(module, linear=self.linear_init)

    def forward(  # type: ignore[override]
        self, video: Float[Tensor, "b c t y x"], rois: Float[Tensor, "n 5"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n 1"]]:
        """Return the verb logits and the seconds to contact of each box; there may be none.

        Args:
            video: normalised clips, whose last frame is the one with the boxes.
            rois: number of the clip, then left, top, right and bottom in its pixels.
        """
        config = self.config
        bins = roi_align(
            time_mean(self, video),
            rois,
            size=config.roi_size,
            stride=config.roi_stride,
            aligned=True,
        )
        boxes = bins.amax(dim=(2, 3))
        placed = boxes
        if config.ttc_box_embedding:
            placed = boxes + box_embedding(rois[:, 1:], config.width).to(boxes.dtype)
        head = self.ROIHEAD
        return head.verb_projection(boxes), F.softplus(head.ttc_projection(placed))

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return random clips, and as many boxes, two on each of the first clips."""
        return box_example(self, batch)


SIZES: dict[str, ContactAnticipatorConfig] = {
    name: ContactAnticipatorConfig(width=size.width, depth=size.depth, num_heads=size.num_heads)
    for name, size in vit.SIZES.items()
    if name in ("B", "L")
}
"""The published size L, for the 74 verbs of Ego4D, and B."""
