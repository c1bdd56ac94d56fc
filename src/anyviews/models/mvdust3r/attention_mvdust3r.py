"""Attention of MV-DUSt3R+: rotary positions in two dimensions, and views that attend to all other views.

Every view of a group attends to all the others but not to itself. Keys and values of the group are laid out twice in
a row (a ring), so that what one view attends to is a contiguous window: nothing is copied per view and nothing is
masked.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_mvdust3r import MVDust3rPlusConfig
from .linear_mvdust3r import MVDust3rLinear


Rotation = tuple[Float[Tensor, "tokens 1 2 quarter"], Float[Tensor, "tokens 1 2 quarter"]]


def rotary_tables(
    rows: int, columns: int, head_dim: int, base: float, device: torch.device | str | None = None
) -> Rotation:
    """Cosines and sines that turn the channels of a head by the token's row and column.

    Args:
        rows, columns: the grid of tokens, laid out row by row.
        head_dim: channels of one head; the first half turns with the row, the second with the column.
        base: of the geometric series of frequencies.
        device: where to make them; nothing is read back from it.

    Returns:
        cos and sin, each [rows * columns, 1, 2, head_dim / 4], in float32.
    """
    quarter = head_dim // 4
    frequencies = base ** (-torch.arange(quarter, device=device, dtype=torch.float32) / quarter)
    row = torch.arange(rows, device=device, dtype=torch.float32)[:, None].expand(rows, columns)
    column = torch.arange(columns, device=device, dtype=torch.float32).expand(rows, columns)
    positions = torch.stack([row, column], dim=-1).reshape(-1, 1, 2, 1)
    angles = positions * frequencies
    return angles.cos(), angles.sin()


def rotate(
    states: Float[Tensor, "*batch tokens heads head_dim"], rotation: Rotation
) -> Float[Tensor, "*batch tokens heads head_dim"]:
    """Apply rotary positions; inside each half, channel j is paired with channel j + head_dim / 4."""
    cos, sin = rotation
    first, second = states.unflatten(-1, (2, 2, -1)).unbind(-2)  # [*batch, tokens, heads, 2, head_dim / 4]
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2)
    return turned.flatten(-3).to(states.dtype)


def eager_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **kwargs
) -> tuple[Tensor, Tensor]:
    """The attention product spelt out, for comparison and for looking at weights."""
    weights = (query @ key.mT * scaling).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


def attend(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch heads keys head_dim"],
    value: Float[Tensor, "batch heads keys head_dim"],
) -> Float[Tensor, "batch queries heads head_dim"]:
    """The attention product, on the implementation chosen by `attn_implementation` (SDPA by default)."""
    implementation = ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention_forward)
    return implementation(module, query, key, value, None, scaling=query.shape[-1] ** -0.5)[0]


class MVDust3rSelfAttention(nn.Module):
    """Tokens of one view attend to each other."""

    is_causal = False

    def __init__(self, config: MVDust3rPlusConfig, width: int, num_heads: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.qkv = MVDust3rLinear(width, 3 * width)
        self.out = MVDust3rLinear(width, width)

    def forward(
        self, hidden_states: Float[Tensor, "*views tokens width"], rotation: Rotation
    ) -> Float[Tensor, "*views tokens width"]:
        qkv = self.qkv(hidden_states).flatten(0, -3).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.unbind(-3)  # [views, tokens, heads, head_dim]
        query, key = rotate(query, rotation), rotate(key, rotation)
        attended = attend(self, query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.out(attended.reshape(hidden_states.shape))


class MVDust3rCrossAttention(nn.Module):
    """Tokens of a view attend to those of all other views in its group."""

    is_causal = False

    def __init__(self, config: MVDust3rPlusConfig, width: int, num_heads: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.query = MVDust3rLinear(width, width)
        self.key_value = MVDust3rLinear(width, 2 * width)
        self.out = MVDust3rLinear(width, width)

    def forward(
        self,
        hidden_states: Float[Tensor, "groups views tokens width"],
        context: Float[Tensor, "groups context_views tokens width"],
        rotation: Rotation,
        own: int | None,
    ) -> Float[Tensor, "groups views tokens width"]:
        """Attend.

        Args:
            hidden_states: normalised tokens of consecutive views of each group.
            context: normalised tokens of the views that they attend to, each to all but itself. Their keys and values
                are computed once for all that attend to them.
            rotation: from `rotary_tables`.
            own: place of the first attending view in `context`; None if none of them is there, so that all attend to
                the whole context.
        """
        query = rotate(self.query(hidden_states).unflatten(-1, (self.num_heads, -1)), rotation)
        key, value = self._project(context, rotation, ring=own is not None)
        if own is None:
            whole = query.flatten(1, 2).transpose(1, 2)  # [groups, heads, views * tokens, head_dim]
            attended = attend(self, whole, key, value)
        elif torch.is_grad_enabled():
            attended = self._attend_view_by_view(query, key, value, own)
        else:
            attended = self._attend_at_once(query, key, value, own)
        return self.out(attended.reshape(hidden_states.shape))

    def _project(self, context: Tensor, rotation: Rotation, ring: bool) -> tuple[Tensor, Tensor]:
        """Keys and values [groups, heads, views * tokens, head_dim]; a ring holds all views but the last twice."""
        key, value = self.key_value(context).unflatten(-1, (2, self.num_heads, -1)).unbind(-3)
        key = rotate(key, rotation)

        def laid_out(states: Tensor) -> Tensor:
            states = states.permute(0, 3, 1, 2, 4)  # [groups, heads, views, tokens, head_dim]
            parts = [states, states[:, :, :-1]] if ring else [states]
            return torch.cat(parts, dim=2).flatten(2, 3)

        return laid_out(key), laid_out(value)

    def _attend_view_by_view(self, query: Tensor, key: Tensor, value: Tensor, own: int) -> Tensor:
        """One product per view: the gradient of a window is added up before the next, so memory stays linear."""
        views, tokens = query.shape[1:3]
        length = _window(key, tokens)
        attended = []
        for view in range(views):
            window = slice((own + view + 1) * tokens, (own + view + 1) * tokens + length)
            attended.append(attend(self, query[:, view].transpose(1, 2), key[:, :, window], value[:, :, window]))
        return torch.stack(attended, dim=1)  # [groups, views, tokens, heads, head_dim]

    def _attend_at_once(self, query: Tensor, key: Tensor, value: Tensor, own: int) -> Tensor:
        """One product for all views over overlapping windows of the same memory."""
        groups, views, tokens, heads, head_dim = query.shape
        length = _window(key, tokens)

        def windows(states: Tensor) -> Tensor:
            every = states.flatten(0, 1).unfold(1, length, tokens)  # [groups * heads, places, head_dim, length]
            return every[:, own + 1 : own + 1 + views].permute(1, 0, 3, 2)

        # views become the batch: one stride leads from each window to the next
        query = query.permute(1, 0, 3, 2, 4).flatten(1, 2)  # [views, groups * heads, tokens, head_dim]
        attended = attend(self, query, windows(key), windows(value))
        return attended.view(views, tokens, groups, heads, head_dim).permute(2, 0, 1, 3, 4)


def _window(key: Tensor, tokens: int) -> int:
    """How many keys of a ring one view attends to: a ring of G views holds G - 1 of them twice."""
    return (key.shape[2] // tokens + 1) // 2 * tokens - tokens
