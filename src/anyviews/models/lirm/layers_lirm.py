"""The transformer of LIRM: plain pre-norm self-attention over the tokens of an object and of its photos."""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lirm import LIRMConfig
from .linear_lirm import linear


# On a CPU with gradients, scores of up to so many tokens are written out: the backward pass of the fused product
# costs more than it saves.
EXPLICIT_TOKENS = 4096

# Scores at a time on a CPU without gradients: with their softmax they stay in its cache.
CACHED_SCORES = 1 << 19

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class LIRMLinear(nn.Module):
    """A linear layer whose rows have learned lengths apart from their directions, or a plain one.

    Args:
        inputs, outputs: channels.
        weight_norm: learn the lengths apart (Salimans and Kingma, 2016).
    """

    def __init__(self, inputs: int, outputs: int, weight_norm: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.length = nn.Parameter(torch.empty(outputs, 1)) if weight_norm else None
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, states: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        weight = self.weight
        if self.length is not None:
            weight = weight * (self.length / weight.norm(dim=1, keepdim=True))
        return linear(states, weight, self.bias)


class LIRMMLP(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, inputs: int, hidden: int, outputs: int, activation: str, weight_norm: bool):
        super().__init__()
        self.up = LIRMLinear(inputs, hidden, weight_norm)
        self.activation = ACTIVATIONS[activation]
        self.down = LIRMLinear(hidden, outputs, weight_norm)

    def forward(self, states: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return self.down(self.activation(self.up(states)))


def explicit_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **kwargs
) -> tuple[Tensor, Tensor]:
    """The attention product spelt out."""
    weights = (query * scaling @ key.mT).softmax(-1).to(value.dtype)
    return (weights @ value).transpose(1, 2), weights


@torch.no_grad()
def attention_in_rows(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **kwargs
) -> tuple[Tensor, None]:
    """The attention product, head by head and some queries at a time, by the fast products of a CPU."""
    batch, heads, queries, head_dim = query.shape
    step = max(16, CACHED_SCORES // key.shape[2])
    attended = query.new_empty(batch, queries, heads, head_dim)
    with torch.autocast("cpu", enabled=False):
        for scene, head in itertools.product(range(batch), range(heads)):
            keys, values = key[scene, head].contiguous(), value[scene, head].T.contiguous()
            for start in range(0, queries, step):
                rows = slice(start, start + step)
                weights = linear(query[scene, head, rows] * scaling, keys).softmax(-1)
                attended[scene, rows, head] = linear(weights, values)
    return attended, None


class LIRMAttention(nn.Module):
    """Tokens attend to each other."""

    is_causal = False

    def __init__(self, config: LIRMConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key_value = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, states: Float[Tensor, "batch tokens width"], num_queries: int
    ) -> Float[Tensor, "batch queries width"]:
        """The first `num_queries` tokens attend to all."""
        query = (
            linear(states[:, :num_queries], self.query.weight, self.query.bias)
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)
        )
        key_value = linear(states, self.key_value.weight, self.key_value.bias).unflatten(-1, (2, self.num_heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each [batch, heads, tokens, head_dim]
        attended = self._implementation(states)(self, query, key, value, None, scaling=query.shape[-1] ** -0.5)[0]
        return linear(attended.flatten(2), self.out.weight, self.out.bias)

    def _implementation(self, states: Tensor):
        if states.is_cpu and self.config._attn_implementation == "sdpa":
            if not torch.is_grad_enabled():
                return attention_in_rows
            if states.shape[1] <= EXPLICIT_TOKENS:
                return explicit_attention_forward
        return ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, explicit_attention_forward)


class LIRMLayer(GradientCheckpointingLayer):
    """A pre-norm transformer layer."""

    def __init__(self, config: LIRMConfig):
        super().__init__()
        width = config.hidden_size
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = LIRMAttention(config)
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = LIRMMLP(width, width * config.mlp_ratio, width, "gelu", config.weight_norm)

    def forward(
        self, states: Float[Tensor, "batch tokens width"], num_queries: int
    ) -> Float[Tensor, "batch queries width"]:
        """Update the first `num_queries` tokens by all."""
        attended = self.attention(self.attention_norm(states), num_queries)
        states = states[:, :num_queries] + attended
        return states + self.mlp(self.mlp_norm(states))


class LIRMPatchEmbedding(nn.Module):
    """Photos and rays to tokens: linear maps of patches, added and normalised.

    The sum of linear maps is one linear map of what the method concatenates; three of them leave the background
    optional.
    """

    def __init__(self, config: LIRMConfig):
        super().__init__()
        patch, width = config.patch_size, config.hidden_size
        self.patch_size = patch
        self.image = nn.Conv2d(3, width, patch, stride=patch)
        self.rays = nn.Conv2d(6, width, patch, stride=patch)
        self.background = nn.Conv2d(3, width, patch, stride=patch) if config.use_background else None
        if self.background is not None:
            self.background.starts_at_zero = True
        self.norm = nn.LayerNorm(width, eps=config.patch_norm_eps)

    def forward(
        self,
        images: Float[Tensor, "views 3 height width"],
        rays: Float[Tensor, "views 6 height width"],
        backgrounds: Float[Tensor, "views 3 height width"] | None,
    ) -> Float[Tensor, "views tokens channels"]:
        dtype = self.image.weight.dtype
        tokens = self.image(images.to(dtype)) + self.rays(rays.to(dtype))
        if backgrounds is not None:
            tokens = tokens + self.background(backgrounds.to(dtype))
        return self.norm(tokens.flatten(2).mT.to(dtype))
