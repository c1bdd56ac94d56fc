"""Transformer layers of MV-DUSt3R+ and the order in which its decoder updates views and paths."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_mvdust3r import MVDust3rCrossAttention, MVDust3rSelfAttention, Rotation
from .configuration_mvdust3r import MVDust3rPlusConfig
from .linear_mvdust3r import MVDust3rLinear


# Hidden values of so many tokens stay in the cache of a processor.
ROWS_AT_ONCE = 1024


class MVDust3rMLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.up = MVDust3rLinear(width, width * ratio, gelu=True)
        self.down = MVDust3rLinear(width * ratio, width)

    def forward(self, hidden_states: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        if torch.is_grad_enabled() or not hidden_states.is_cpu:
            return self.down(self.up(hidden_states))
        rows = hidden_states.flatten(0, -2).split(ROWS_AT_ONCE)
        return torch.cat([self.down(self.up(some)) for some in rows]).view(*hidden_states.shape)


class MVDust3rEncoderLayer(GradientCheckpointingLayer):
    """A pre-norm transformer layer over the tokens of one view."""

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__()
        width = config.encoder_hidden_size
        self.self_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.self_attention = MVDust3rSelfAttention(config, width, config.encoder_num_heads)
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MVDust3rMLP(width, config.mlp_ratio)

    def forward(
        self, hidden_states: Float[Tensor, "views tokens width"], rotation: Rotation
    ) -> Float[Tensor, "views tokens width"]:
        hidden_states = hidden_states + self.self_attention(self.self_norm(hidden_states), rotation)
        return hidden_states + self.mlp(self.mlp_norm(hidden_states))


class MVDust3rDecoderLayer(GradientCheckpointingLayer):
    """A transformer layer in which views attend to themselves and then to the other views of their group.

    Args:
        config: of the model.
        starts_as_identity: a freshly drawn layer changes nothing (the fusion of paths).
    """

    def __init__(self, config: MVDust3rPlusConfig, starts_as_identity: bool = False):
        super().__init__()
        width, num_heads, eps = config.decoder_hidden_size, config.decoder_num_heads, config.layer_norm_eps
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.self_attention = MVDust3rSelfAttention(config, width, num_heads)
        self.cross_norm = nn.LayerNorm(width, eps=eps)
        self.context_norm = nn.LayerNorm(width, eps=eps)
        self.cross_attention = MVDust3rCrossAttention(config, width, num_heads)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = MVDust3rMLP(width, config.mlp_ratio)
        for linear in (self.self_attention.out, self.cross_attention.out, self.mlp.down):
            linear.starts_at_zero = starts_as_identity

    def forward(
        self,
        hidden_states: Float[Tensor, "groups views tokens width"],
        context: Float[Tensor, "groups context_views tokens width"],
        rotation: Rotation,
        own: int | None,
    ) -> Float[Tensor, "groups views tokens width"]:
        """Update views.

        Args:
            hidden_states: tokens of consecutive views of each group.
            context: the views that they attend to, each to all but itself.
            rotation: from `rotary_tables`.
            own: place of the first updated view in `context`; None if `context` has none of them.
        """
        hidden_states = hidden_states + self.self_attention(self.self_norm(hidden_states), rotation)
        hidden_states = hidden_states + self.cross_attention(
            self.cross_norm(hidden_states), self.context_norm(context), rotation, own
        )
        return hidden_states + self.mlp(self.mlp_norm(hidden_states))


class MVDust3rDecoder(nn.Module):
    """All views of all paths, updated together layer by layer (sections 3.1 and 3.2 of the paper).

    In path m, view m is the reference and is updated by layers of its own. The fusion layers of MV-DUSt3R+ then let
    each view attend to the same view in the other paths.
    """

    def __init__(self, config: MVDust3rPlusConfig):
        super().__init__()
        layers = range(config.decoder_num_layers)
        self.reference_layers = nn.ModuleList(MVDust3rDecoderLayer(config) for _ in layers)
        self.source_layers = nn.ModuleList(MVDust3rDecoderLayer(config) for _ in layers)
        self.fusion_layers = nn.ModuleList(
            MVDust3rDecoderLayer(config, starts_as_identity=True) for _ in layers if config.has_fusion
        )
        self.norm = nn.LayerNorm(config.decoder_hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, tokens: Float[Tensor, "batch views tokens width"], rotation: Rotation, num_paths: int, all_paths: bool
    ) -> Float[Tensor, "batch paths views tokens width"]:
        """Decode.

        Args:
            tokens: of the projected encoder.
            rotation: from `rotary_tables`.
            num_paths: the first so many views are the references of as many paths.
            all_paths: return every path, not the first alone.
        """
        if num_paths == 1:
            states = self._update(0, tokens[:, :, None], rotation)
        else:
            states = self._update_equal_paths(0, tokens, rotation, num_paths)
        for index in range(len(self.source_layers)):
            if index > 0:
                states = self._update(index, states, rotation)
            if self.fusion_layers:
                last = index == len(self.source_layers) - 1
                states = self._fuse(index, states, rotation, num_paths if all_paths or not last else 1)
        return self.norm(states if all_paths else states[:, :, :1]).transpose(1, 2)

    def _update(self, index: int, states: Tensor, rotation: Rotation) -> Tensor:
        """Views attend to the other views of their path; states are [batch, views, paths, tokens, width]."""
        batch, num_views, num_paths = states.shape[:3]
        path = torch.arange(num_paths, device=states.device)[:, None]
        slot = torch.arange(num_views, device=states.device)
        # each path starts at its reference and goes round, so that updated views are consecutive in every path
        paths = states[:, (path + slot) % num_views, path].flatten(0, 1)  # [batch * paths, slots, tokens, width]
        references = self.reference_layers[index](paths[:, :1], paths[:, 1:], rotation, None)
        sources = self.source_layers[index](paths[:, 1:], paths, rotation, 1)
        paths = torch.cat([references, sources], dim=1).unflatten(0, (batch, num_paths))
        path, view = path.T, slot[:, None]
        return paths[:, path, (view - path) % num_views]

    def _update_equal_paths(self, index: int, tokens: Tensor, rotation: Rotation, num_paths: int) -> Tensor:
        """`_update` for paths that are still equal: every view is updated once as a source, each reference once."""
        references = self.reference_layers[index](tokens[:, :num_paths], tokens, rotation, 0)
        sources = self.source_layers[index](tokens, tokens, rotation, 0)
        states = sources[:, :, None].repeat(1, 1, num_paths, 1, 1)
        path = torch.arange(num_paths, device=tokens.device)
        states[:, path, path] = references
        return states

    def _fuse(self, index: int, states: Tensor, rotation: Rotation, num_updated: int) -> Tensor:
        """Views of the first `num_updated` paths attend to the same view in the other paths."""
        groups = states.flatten(0, 1)  # [batch * views, paths, tokens, width]
        if num_updated == 1:
            fused = self.fusion_layers[index](groups[:, :1], groups[:, 1:], rotation, None)
        else:
            fused = self.fusion_layers[index](groups, groups, rotation, 0)
        return fused.unflatten(0, states.shape[:2])
