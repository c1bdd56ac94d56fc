"""Attention of the recurrent interface network: dispatched, cached, or streamed over a long context."""

import math

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from jaxtyping import Bool, Float
from torch import Tensor, nn


KeyValue = tuple[Float[Tensor, "scenes tokens heads head_dim"], Float[Tensor, "scenes tokens heads head_dim"]]


class MVGDAttentionProcessor:
    """Runs the attention product on the backend chosen through diffusers' dispatcher."""

    _attention_backend = None
    _parallel_config = None

    def __call__(self, query: Tensor, key_value: KeyValue, mask: Tensor | None) -> Tensor:
        return dispatch_attention_fn(
            query,
            *key_value,
            attn_mask=None if mask is None else mask[:, None, None, :],
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )


class MVGDExplicitAttentionProcessor:
    """Spells the attention product out; for training on a CPU.

    There the backward pass of fused attention, and the float32 detour of its mathematical form, take most of a step.
    `transformer.set_attn_processor(MVGDExplicitAttentionProcessor())` switches to it.
    """

    def __call__(self, query: Tensor, key_value: KeyValue, mask: Tensor | None) -> Tensor:
        query, key, value = (x.transpose(1, 2) for x in (query, *key_value))  # [b, heads, tokens, head_dim]
        scores = (query / math.sqrt(query.shape[-1])) @ key.mT
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
        return (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2)


class MVGDAttention(nn.Module, AttentionModuleMixin):
    """Multi-head attention from one token set to itself or to another.

    Args:
        query_dim: width of the attending tokens (and of the result).
        context_dim: width of the tokens attended to.
        inner_dim: width of queries, keys and values over all heads.
        num_heads: number of heads.
        qk_norm: RMS-normalise queries and keys per head.
    """

    _default_processor_cls = MVGDAttentionProcessor
    _available_processors = [MVGDAttentionProcessor, MVGDExplicitAttentionProcessor]
    _supports_qkv_fusion = False

    def __init__(self, query_dim: int, context_dim: int, inner_dim: int, num_heads: int, qk_norm: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(query_dim, inner_dim)
        self.to_k = nn.Linear(context_dim, inner_dim)
        self.to_v = nn.Linear(context_dim, inner_dim)
        self.to_out = nn.ModuleList([nn.Linear(inner_dim, query_dim)])
        head_dim = inner_dim // num_heads
        self.norm_q = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.processor = MVGDAttentionProcessor()

    def project_context(self, context: Float[Tensor, "scenes tokens context_dim"]) -> KeyValue:
        """Keys and values of the tokens attended to; they can be kept as long as those tokens do not change."""
        key = self.norm_k(self.to_k(context).unflatten(-1, (self.num_heads, -1)))
        return key, self.to_v(context).unflatten(-1, (self.num_heads, -1))

    def forward(
        self,
        hidden_states: Float[Tensor, "batch queries query_dim"],
        context: Float[Tensor, "scenes tokens context_dim"] | None = None,
        mask: Bool[Tensor, "scenes tokens"] | None = None,
        key_value: KeyValue | None = None,
        chunk_tokens: int | None = None,
    ) -> Float[Tensor, "batch queries query_dim"]:
        """Attend.

        Args:
            hidden_states: attending tokens. Their batch may be a multiple of the context's: consecutive samples then
                share one scene (ensemble members), whose keys and values are neither copied nor computed again.
            context: tokens attended to; by default `hidden_states`.
            mask: True where a context token exists.
            key_value: the result of `project_context`, instead of `context`.
            chunk_tokens: project and attend to so many context tokens at a time (inference only), for contexts whose
                keys and values do not fit in memory.
        """
        batch = len(hidden_states)
        query = self.norm_q(self.to_q(hidden_states).unflatten(-1, (self.num_heads, -1)))
        if context is None and key_value is None:
            context = hidden_states
        scenes = len(context if key_value is None else key_value[0])
        query = query.reshape(scenes, -1, *query.shape[2:])  # members of one scene queue up as more queries
        if chunk_tokens is None:
            key_value = self.project_context(context) if key_value is None else key_value
            attended = self.processor(query, key_value, mask)
        else:
            attended = self._attend_streamed(query, context, mask, chunk_tokens)
        attended = attended.reshape(batch, -1, self.num_heads * query.shape[-1])
        return self.to_out[0](attended.type_as(hidden_states))

    def _attend_streamed(self, query: Tensor, context: Tensor, mask: Tensor | None, chunk_tokens: int) -> Tensor:
        """Exact attention by online softmax over chunks of the context (Milakov and Gimelshein, 2018)."""
        query = query.transpose(1, 2).float() / math.sqrt(query.shape[-1])  # [b, heads, Q, d]
        peak = query.new_full((*query.shape[:-1], 1), -torch.inf)
        total = torch.zeros_like(peak)
        summed = torch.zeros_like(query)
        for start in range(0, context.shape[1], chunk_tokens):
            window = slice(start, start + chunk_tokens)
            key, value = (x.transpose(1, 2).float() for x in self.project_context(context[:, window]))
            scores = query @ key.mT  # [b, heads, Q, chunk]
            if mask is not None:
                scores = scores.masked_fill(~mask[:, None, None, window], -torch.inf)
            higher = torch.maximum(peak, scores.amax(-1, keepdim=True))
            # a chunk without any existing token leaves the peak at -inf; keep its weight at zero, not NaN
            rescale = torch.exp(peak - higher).nan_to_num(0.0)
            weights = torch.exp_(scores.sub_(higher)).nan_to_num_(0.0)
            total = total * rescale + weights.sum(-1, keepdim=True)
            summed = summed * rescale + weights @ value
            peak = higher
        return (summed / total).transpose(1, 2)
