"""ViCLIP as its research code formulates it: the peer of `viclip.py`, with our weights.

Tokens stand sequence first, patches place by place; attention is PyTorch's packed module; patches
are cut by a 3-D convolution over the whole clip and dropped afterwards by a boolean mask; QuickGELU
is the product with a sigmoid; texts have their whole context and an additive causal mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from internvideo.models.clip_layers import CLIPBlock
from internvideo.models.clip_text import CLIPTextEncoder
from internvideo.models.viclip import ViCLIP
from internvideo.models.viclip_vision import ViCLIPVision

__all__ = ["ReferenceViCLIP"]


class QuickGELU(nn.Module):
    """`x · sigmoid(1.702 x)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ReferenceBlock(nn.Module):
    """A residual block over "n b d".

    Args:
        ours: the weights.
        num_heads: attention heads.
        need_weights: return the weights of attention (and throw them away), which makes PyTorch
            compute them: eager attention.
    """

    def __init__(self, ours: CLIPBlock, num_heads: int, *, need_weights: bool) -> None:
        super().__init__()
        width = ours.attn.out_proj.in_features
        self.need_weights = need_weights
        self.attn = nn.MultiheadAttention(width, num_heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = QuickGELU()
        for name in ("ln_1", "ln_2"):
            getattr(self, name).load_state_dict(getattr(ours, name).state_dict())
        self.attn.load_state_dict(ours.attn.state_dict())
        self.c_fc.load_state_dict(ours.mlp.c_fc.state_dict())
        self.c_proj.load_state_dict(ours.mlp.c_proj.state_dict())

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=self.need_weights, attn_mask=mask)[0]
        return x + self.c_proj(self.act(self.c_fc(self.ln_2(x))))


class ReferenceVision(nn.Module):
    """The video tower."""

    def __init__(self, ours: ViCLIPVision, *, need_weights: bool) -> None:
        super().__init__()
        config = ours.config
        size = (config.tubelet_size, config.patch_size, config.patch_size)
        self.conv1 = nn.Conv3d(3, config.width, size, stride=size, bias=False)
        self.conv1.load_state_dict(ours.conv1.state_dict())
        for name in ("class_embedding", "positional_embedding", "temporal_positional_embedding"):
            self.register_parameter(name, copied(getattr(ours, name)))
        self.proj = copied(ours.proj)
        self.ln_pre, self.ln_post = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.ln_pre.load_state_dict(ours.ln_pre.state_dict())
        self.ln_post.load_state_dict(ours.ln_post.state_dict())
        self.blocks = nn.ModuleList(
            ReferenceBlock(block, config.num_heads, need_weights=need_weights)
            for block in ours.transformer.resblocks
        )

    def forward(
        self, video: Tensor, mask_ratio: float = 0.0, noise: Tensor | None = None
    ) -> Tensor:
        x = self.conv1(video)
        clips = len(x)
        x = rearrange(x, "b d t h w -> (b t) (h w) d")
        first = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        first = x[:clips, :1]
        x = rearrange(x[:, 1:], "(b t) n d -> (b n) t d", b=clips)
        x = x + self.temporal_positional_embedding
        x = rearrange(x, "(b n) t d -> b (n t) d", b=clips)
        if mask_ratio:
            assert noise is not None
            dropped = torch.zeros_like(noise, dtype=torch.bool)
            count = int(mask_ratio * noise.shape[1])
            dropped.scatter_(1, noise.argsort(dim=1)[:, :count], True)
            x = x[~dropped].reshape(clips, -1, x.shape[-1])
        x = self.ln_pre(torch.cat([first, x], dim=1)).transpose(0, 1)
        for block in self.blocks:
            x = block(x, None)
        return self.ln_post(x)[0] @ self.proj


class ReferenceText(nn.Module):
    """The text tower."""

    def __init__(self, ours: CLIPTextEncoder, *, need_weights: bool) -> None:
        super().__init__()
        config = ours.config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.token_embedding.load_state_dict(ours.token_embedding.state_dict())
        self.positional_embedding = copied(ours.positional_embedding)
        self.text_projection = copied(ours.text_projection)
        self.ln_final = nn.LayerNorm(config.width)
        self.ln_final.load_state_dict(ours.ln_final.state_dict())
        self.blocks = nn.ModuleList(
            ReferenceBlock(block, config.num_heads, need_weights=need_weights)
            for block in ours.transformer.resblocks
        )
        length = config.context_length
        mask = torch.full((length, length), -torch.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = (self.token_embedding(ids) + self.positional_embedding).transpose(0, 1)
        for block in self.blocks:
            x = block(x, self.mask)
        x = self.ln_final(x).transpose(0, 1)
        return x[torch.arange(len(x)), ids.argmax(dim=-1)] @ self.text_projection


class ReferenceViCLIP(nn.Module):
    """Both towers.

    Args:
        ours: the weights.
        need_weights: see `ReferenceBlock`; False lets PyTorch fuse attention as it can.
    """

    def __init__(self, ours: ViCLIP, *, need_weights: bool) -> None:
        super().__init__()
        assert isinstance(ours.vision_encoder, ViCLIPVision)
        self.vision = ReferenceVision(ours.vision_encoder, need_weights=need_weights)
        self.text = ReferenceText(ours.text_encoder, need_weights=need_weights)
        self.temp = copied(ours.temp)

    def forward(
        self, video: Tensor, ids: Tensor, mask_ratio: float = 0.0, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        embeddings = self.vision(video, mask_ratio, noise), self.text(ids)
        of_video, of_text = (F.normalize(x, dim=-1) for x in embeddings)
        return of_video, of_text


def copied(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
