"""The transformer block of Era3D: attention across domains, across views along image rows, and to the prompts."""

import torch
from diffusers.models.attention import AttentionModuleMixin, FeedForward
from jaxtyping import Float
from torch import Tensor, nn

from ..mvgd.attention_mvgd import MVGDAttentionProcessor, MVGDExplicitAttentionProcessor


# Keys and values of one layer, [prompts, tokens, heads, width of a head].
KeyValue = tuple[Float[Tensor, "_ _ _ _"], Float[Tensor, "_ _ _ _"]]
# Prompt embeddings, or what `Era3DUNetModel.cache_prompts` made of them.
Prompts = Tensor | tuple[KeyValue, ...]


class Era3DAttention(nn.Module, AttentionModuleMixin):
    """Multi-head attention of tokens to themselves or to others.

    Args:
        dim: width of the attending tokens.
        num_heads: number of heads.
        context_dim: width of the tokens attended to.
    """

    _default_processor_cls = MVGDAttentionProcessor
    _available_processors = [MVGDAttentionProcessor, MVGDExplicitAttentionProcessor]
    _supports_qkv_fusion = False

    def __init__(self, dim: int, num_heads: int, context_dim: int):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.processor = MVGDAttentionProcessor()

    def project_context(self, context: Float[Tensor, "batch tokens context_dim"]) -> KeyValue:
        """Keys and values of the tokens attended to."""
        return tuple(layer(context).unflatten(-1, (self.num_heads, -1)) for layer in (self.to_k, self.to_v))

    def project_queries(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens heads width"]:
        """Queries of the attending tokens."""
        return self.to_q(tokens).unflatten(-1, (self.num_heads, -1))

    def attend(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Self-attention."""
        attended = self.processor(self.project_queries(tokens), self.project_context(tokens), None)
        return self.to_out[0](attended.flatten(2).type_as(tokens))


class JointDomainAttention(Era3DAttention):
    """Self-attention over the tokens of a normal map and of the colour image of the same view."""

    def forward(self, tokens: Float[Tensor, "rows tokens dim"]) -> Float[Tensor, "rows tokens dim"]:
        joint = torch.cat(tokens.chunk(2), dim=1)  # [rows / 2, 2 tokens, dim]
        return torch.cat(self.attend(joint).chunk(2, dim=1))


class RowAttention(Era3DAttention):
    """Self-attention over one image row of all views of a domain: where epipolar lines of level cameras lie."""

    def forward(
        self, tokens: Float[Tensor, "rows tokens dim"], height: int, views: int
    ) -> Float[Tensor, "rows tokens dim"]:
        """Attend.

        Args:
            tokens: of images of `height` rows; `views` images in a row belong together.
            height: rows of an image.
            views: of one object.
        """
        grouped = tokens.unflatten(1, (height, -1)).unflatten(0, (-1, views))  # [groups, views, height, width, dim]
        by_row = grouped.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [groups * height, views * width, dim]
        attended = self.attend(by_row).unflatten(1, (views, -1)).unflatten(0, (-1, height))
        return attended.transpose(1, 2).flatten(2, 3).flatten(0, 1)


class PromptAttention(Era3DAttention):
    """Attention to the prompts of each view and domain, whose keys and values are the same in every step.

    `index` is its place in a tuple of cached keys and values; the model numbers its layers.
    """

    index = 0

    def forward(self, tokens: Float[Tensor, "rows tokens dim"], prompts: Prompts) -> Float[Tensor, "rows tokens dim"]:
        """Attend.

        Args:
            tokens: rows are (domain, copy, view).
            prompts: one for each row, or one for each (domain, view), which all copies share.
        """
        key_value = self.project_context(prompts) if isinstance(prompts, Tensor) else prompts[self.index]
        rows, views = len(tokens), len(key_value[0]) // 2
        query = self.project_queries(tokens).unflatten(0, (2, -1, views)).transpose(1, 2)
        # copies of a prompt queue up as more queries: [domains * views, copies * tokens, heads, width]
        attended = self.processor(query.flatten(2, 3).flatten(0, 1), key_value, None)
        attended = attended.unflatten(1, (-1, tokens.shape[1])).unflatten(0, (2, views)).transpose(1, 2)
        return self.to_out[0](attended.reshape(rows, tokens.shape[1], -1).type_as(tokens))


class Era3DTransformerBlock(nn.Module):
    """Joint-domain, row-wise and prompt attention, and a feed-forward layer; rows are (domain, copy, view)."""

    def __init__(self, dim: int, num_heads: int, prompt_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = JointDomainAttention(dim, num_heads, dim)
        self.norm_mv = nn.LayerNorm(dim)
        self.attn_mv = RowAttention(dim, num_heads, dim)
        nn.init.zeros_(self.attn_mv.to_out[0].weight)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = PromptAttention(dim, num_heads, prompt_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(
        self, tokens: Float[Tensor, "rows tokens dim"], height: int, views: int, prompts: Prompts
    ) -> Float[Tensor, "rows tokens dim"]:
        tokens = tokens + self.attn1(self.norm1(tokens))
        tokens = tokens + self.attn_mv(self.norm_mv(tokens), height, views)
        tokens = tokens + self.attn2(self.norm2(tokens), prompts)
        return tokens + self.ff(self.norm3(tokens))


class Era3DTransformer(nn.Module):
    """Transformer blocks on the pixels of feature maps."""

    def __init__(self, dim: int, num_heads: int, prompt_dim: int, num_layers: int, num_groups: int, views: int):
        super().__init__()
        self.views = views
        self.norm = nn.GroupNorm(num_groups, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList(
            Era3DTransformerBlock(dim, num_heads, prompt_dim) for _ in range(num_layers)
        )
        self.proj_out = nn.Linear(dim, dim)

    def forward(
        self, maps: Float[Tensor, "rows dim height width"], prompts: Prompts
    ) -> Float[Tensor, "rows dim height width"]:
        height, width = maps.shape[-2:]
        tokens = self.proj_in(self.norm(maps).flatten(2).mT)  # [rows, height * width, dim]
        for block in self.transformer_blocks:
            tokens = block(tokens, height, self.views, prompts)
        return maps + self.proj_out(tokens).mT.unflatten(-1, (height, width))
