"""The frozen image CLIP that teaches a video student (Unmasked Teacher, arXiv 2303.16058).

    frames ──► patches + class token + positions ──► ln_pre ──► blocks ─┬─► hidden tokens
                                                                        └─► class attention
    hidden tokens at the visible places ──► ln_post ──► @ proj ──► unit vectors: the targets

Each frame is an image of its own. A step asks twice: `observe` runs the tower up to the class
token's attention of the last block, which says what is worth looking at, and `targets` finishes
only the places that stay visible. So four fifths of the last block's queries and MLP, and of the
projections of all layers, are never computed; the numbers are those of the whole.

Names of the tensors are those of the visual tower of CLIP, the patch kernel has a time axis of 1.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; f = b·t frames of all
clips; n patches of a frame, v of them visible; k layers; h heads; d width, e width of a target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.clip_init import resize_spatial_positions
from internvideo.models.clip_layers import CLIPBlock, CLIPLayerNorm, CLIPTransformer
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.layers import attention, run_blocks
from internvideo.models.tubelets import cut_tubelets, take_tokens, tubelet_grid

__all__ = [
    "SIZES",
    "CLIPTeacher",
    "CLIPTeacherConfig",
    "Observation",
    "last_layers",
    "resize_frames",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPTeacherConfig:
    """Shape of a `CLIPTeacher`.

    Attributes:
        image_size: pixels of the square frames that its position table is made for; others work.
        patch_size: pixels of a patch along rows and columns.
        width: of the tokens.
        depth: number of blocks.
        num_heads: attention heads; they divide `width`.
        embed_dim: width of a target, CLIP's joint space.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    embed_dim: int = 512

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along rows and columns of the frame that the position table is made for."""
        side = self.image_size // self.patch_size
        return side, side


@dataclass(frozen=True, slots=True)
class Observation:
    """What a teacher saw in a batch of clips, before it is known which places stay visible.

    Attributes:
        attention: of the class token to each patch in the deepest layer asked for, mean over the
            heads. What it pays to itself is left out, so a row sums to less than 1.
        hidden: tokens after each layer asked for but the deepest, class token first.
        last_input: tokens before the deepest layer asked for.
        keys: of that layer.
        last_layer: its number.
    """

    attention: Float[Tensor, "b t n"]
    hidden: tuple[Float[Tensor, "f m d"], ...]
    last_input: Float[Tensor, "f m d"]
    keys: Float[Tensor, "f h m a"]
    last_layer: int


class CLIPTeacher(VideoEncoder, nn.Module):
    """CLIP's image tower over the frames of clips; frozen, and always in evaluation mode.

    Example:
        >>> teacher, video = CLIPTeacher(SIZES["b16"]), torch.randn(1, 3, 8, 224, 224)
        >>> seen = teacher.observe(video, last_layers(12, 6))
        >>> places = seen.attention.topk(40).indices.sort().values
        >>> teacher.targets(seen, places).shape
        torch.Size([6, 1, 320, 512])
    """

    capabilities = frozenset({"features", "embed"})

    def __init__(self, config: CLIPTeacherConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        rows, columns = config.grid
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(rows * columns + 1, width))
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))
        # COMPAT: released teachers are video towers whose kernel spans one frame.
        size = (1, patch, patch)
        self.conv1 = nn.Conv3d(3, width, kernel_size=size, stride=size, bias=False)
        self.ln_pre = CLIPLayerNorm(width)
        self.transformer = CLIPTransformer(width, config.depth, config.num_heads)
        self.ln_post = CLIPLayerNorm(width)
        self.reset_parameters()
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights as CLIP does."""
        for table in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(table, std=self.config.width**-0.5)
        self.conv1.reset_parameters()
        self.ln_pre.reset_parameters()
        self.transformer.reset_parameters()
        self.ln_post.reset_parameters()

    def train(self, mode: bool = True) -> CLIPTeacher:
        """Stay in evaluation mode, whatever the model around it does."""
        del mode
        return super().train(False)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks."""
        yield from self.transformer.block_modules()

    def embed_patches(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "f m d"]:
        """Return the tokens of every frame before the first block, the class token first.

        Raises:
            ValueError: the frames cannot be cut into patches without remainder.
        """
        patch = self.config.patch_size
        t, rows, columns = tubelet_grid(video, tubelet_size=1, patch_size=patch)
        pixels = cut_tubelets(video, tubelet_size=1, patch_size=patch)
        x = F.linear(pixels.flatten(2), self.conv1.weight.flatten(1))
        x = rearrange(x, "b (t n) d -> (b t) n d", t=t)
        positions = resize_spatial_positions(self.positional_embedding, (rows, columns))
        first = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        # With mixed precision this is float32, and so is all that the blocks add to.
        return self.ln_pre(torch.cat([first, x], dim=1) + positions)

    @torch.no_grad()
    def observe(self, video: Float[Tensor, "b c t y x"], layers: Sequence[int]) -> Observation:
        """Look at clips, up to the attention of the deepest layer asked for.

        Args:
            video: normalised pixels, sized so that a frame has as many patches as the student's.
            layers: numbers of the layers whose outputs are wanted, increasing (`last_layers`).

        Raises:
            ValueError: `layers` are not increasing numbers of blocks.
        """
        depth = self.config.depth
        if not layers or list(layers) != sorted(set(layers) & set(range(depth))):
            raise ValueError(
                f"layers {list(layers)} must be increasing numbers from 0 to {depth - 1}"
            )
        *wanted, last = layers
        x, hidden = self.embed_patches(video), []
        for index, block in enumerate(self.transformer.resblocks[:last]):
            x = block(x)
            if index in wanted:
                hidden.append(x)
        block = self._block(last)
        normalised = block.ln_1(x)
        query, keys = _project(block, normalised[:, :1], 0), _project(block, normalised, 1)
        logits = (query @ keys.transpose(-1, -2)).float() * keys.shape[-1] ** -0.5
        weights = rearrange(logits.softmax(dim=-1).mean(dim=1), "f 1 m -> f m")[:, 1:]
        return Observation(
            attention=rearrange(weights, "(b t) n -> b t n", b=video.shape[0]),
            hidden=tuple(hidden),
            last_input=x,
            keys=keys,
            last_layer=last,
        )

    @torch.no_grad()
    def targets(self, seen: Observation, places: Int[Tensor, "b t v"]) -> Float[Tensor, "k b tv e"]:
        """Return what a student should say of the patches at `places`: unit vectors in float32.

        Args:
            seen: from `observe`.
            places: which patches of each frame, equally many everywhere.

        Returns:
            For each layer asked for, in increasing depth, the patches in the order time, place.
        """
        index = rearrange(places, "b t v -> (b t) v") + 1  # behind the class token
        block, x = self._block(seen.last_layer), seen.last_input
        normalised = block.ln_1(x)
        query = _project(block, take_tokens(normalised, index), 0)
        mixed = attention(query, seen.keys, _project(block, normalised, 2))
        x = take_tokens(x, index) + block.attn.out_proj(rearrange(mixed, "f h v a -> f v (h a)"))
        x = x + block.mlp(block.ln_2(x))
        chosen = torch.stack([*(take_tokens(hidden, index) for hidden in seen.hidden), x])
        features = self.ln_post(chosen) @ self.proj.to(chosen.dtype)
        features = rearrange(features, "k (b t) v e -> k b (t v) e", b=places.shape[0])
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Return patch and class tokens of all frames after `ln_post`, not projected.

        Args:
            video: normalised pixels.
            layers: blocks whose patch tokens to return as `hidden`; negative numbers count from the
                end.
        """
        grid = tubelet_grid(video, tubelet_size=1, patch_size=self.config.patch_size)
        x, outputs = run_blocks(self.block_modules(), self.embed_patches(video), layers)

        def patches(tokens: Tensor) -> Float[Tensor, "b n d"]:
            return rearrange(tokens[:, 1:], "(b t) n d -> b (t n) d", t=grid[0])

        x = self.ln_post(x)
        return VideoFeatures(
            tokens=patches(x),
            grid=grid,
            hidden=tuple(map(patches, outputs)),
            frame_cls=rearrange(x[:, 0], "(b t) d -> b t d", t=grid[0]),
        )

    forward = forward_features

    def example_inputs(self, batch: int = 2) -> tuple[Tensor]:
        """Return clips of two frames: any number works."""
        side = self.config.image_size
        return (torch.randn(batch, 3, 2, side, side),)

    def _block(self, index: int) -> CLIPBlock:
        block = self.transformer.resblocks[index]
        assert isinstance(block, CLIPBlock)
        return block


def last_layers(depth: int, count: int, interval: float = 1.0) -> tuple[int, ...]:
    """Return the numbers of the last `count` layers, `interval` apart, in increasing order.

    Layer i from the end is `depth - 1 - int(i · interval)`, as in the reference.

    Raises:
        ValueError: they would begin before the first layer, or coincide.
    """
    layers = tuple(depth - 1 - int(i * interval) for i in reversed(range(count)))
    if not layers or layers[0] < 0 or len(set(layers)) < count:
        raise ValueError(
            f"{count} layers at an interval of {interval} do not fit into {depth} blocks"
        )
    return layers


def resize_frames(
    video: Float[Tensor, "b c t y x"], size: tuple[int, int]
) -> Float[Tensor, "b c t h w"]:
    """Resize frames to (rows, columns) for a teacher: bicubic, without antialiasing."""
    if video.shape[-2:] == size:
        return video
    frames = rearrange(video, "b c t y x -> (b t) c y x")
    frames = F.interpolate(frames, size=size, mode="bicubic", align_corners=False)
    return rearrange(frames, "(b t) c y x -> b c t y x", b=video.shape[0])


def _project(block: CLIPBlock, x: Tensor, part: int) -> Float[Tensor, "f h m a"]:
    """Return the queries (0), keys (1) or values (2) of a block."""
    weight = block.attn.in_proj_weight.chunk(3)[part]
    bias = block.attn.in_proj_bias.chunk(3)[part]
    return rearrange(F.linear(x, weight, bias), "f m (h a) -> f h m a", h=block.attn.num_heads)


SIZES: dict[str, CLIPTeacherConfig] = {
    "b16": CLIPTeacherConfig(),
    "l14": CLIPTeacherConfig(
        image_size=196, patch_size=14, width=1024, depth=24, num_heads=16, embed_dim=768
    ),
}
"""The teachers of the published B/16 and L/16 students, both with 14 x 14 patches a frame."""
