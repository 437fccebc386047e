"""Keys and values of the positions that a causal transformer has already read.

Writing a text token by token, only the newest position is computed; what the earlier ones offer to
it is kept here. Shapes: b rows, h heads, n new positions, m positions so far, d channels a head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.models.layers import attention

__all__ = ["KeyValueCache", "causal_attention"]


class KeyValueCache:
    """Keys and values of one attention layer, in memory that is taken once.

    Args:
        max_length: positions that there is room for.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._memory: tuple[Tensor, Tensor] | None = None

    def append(
        self, k: Float[Tensor, "b h n d"], v: Float[Tensor, "b h n d"]
    ) -> tuple[Float[Tensor, "b h m d"], Float[Tensor, "b h m d"]]:
        """Keep the keys and values of the next positions; return those of all positions so far.

        Raises:
            ValueError: more positions than there is room for.
        """
        start, end = self.length, self.length + k.shape[2]
        if end > self.max_length:
            raise ValueError(f"{end} positions do not fit into a cache of {self.max_length}")
        if self._memory is None:
            shape = (*k.shape[:2], self.max_length, k.shape[3])
            self._memory = k.new_empty(shape), v.new_empty(shape)
        keys, values = self._memory
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        self.length = end
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, rows: Int[Tensor, "r"]) -> None:
        """Let row i go on from what row `rows[i]` has read; rows may repeat."""
        if self._memory is not None:
            keys, values = self._memory
            self._memory = keys.index_select(0, rows), values.index_select(0, rows)


def causal_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    cache: KeyValueCache | None = None,
) -> Float[Tensor, "b h n d"]:
    """Let each position attend to itself and to what is before it.

    Args:
        q: queries.
        k: keys; one head (g = 1) is shared by all query heads.
        v: values.
        cache: holds the positions before these; they are added to it.
    """
    heads = q.shape[1]
    if cache is None:
        shared = (-1, heads, -1, -1)
        return attention(q, k.expand(shared), v.expand(shared), is_causal=True)
    k, v = (each.expand(-1, heads, -1, -1) for each in cache.append(k, v))
    new, total = q.shape[2], k.shape[2]
    # `is_causal` would line the newest query up with the FIRST key.
    mask = None
    if new > 1:
        mask = torch.ones(new, total, dtype=torch.bool, device=q.device).tril(total - new)
    return attention(q, k, v, mask=mask)
