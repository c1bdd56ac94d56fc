"""One attention, four ways: dispatched, spelled out, cached and streamed."""

import math

import pytest
import torch

from anyviews.models.mvgd import MVGDExplicitAttentionProcessor
from anyviews.models.mvgd.attention_mvgd import MVGDAttention


@pytest.fixture(params=[False, True], ids=["plain", "qk_norm"])
def attention(request) -> MVGDAttention:
    return MVGDAttention(query_dim=12, context_dim=10, inner_dim=8, num_heads=2, qk_norm=request.param)


def random_mask(*shape: int) -> torch.Tensor:
    mask = torch.rand(*shape) < 0.6
    mask[..., 0] = True
    return mask


def test_equals_the_textbook_formula():
    attention = MVGDAttention(6, 6, 6, 1)
    tokens = torch.randn(1, 5, 6)
    query, key, value = (layer(tokens)[0] for layer in (attention.to_q, attention.to_k, attention.to_v))
    expected = attention.to_out[0]((query @ key.T / math.sqrt(6)).softmax(-1) @ value)
    torch.testing.assert_close(attention(tokens)[0], expected)


@pytest.mark.parametrize("masked", [False, True])
def test_explicit_processor_equals_dispatched_with_gradients(attention, masked):
    context = torch.randn(2, 9, 10, requires_grad=True)
    hidden = torch.randn(6, 4, 12, requires_grad=True)  # three members of two scenes
    mask = random_mask(2, 9) if masked else None
    results = []
    for processor in (attention.processor, MVGDExplicitAttentionProcessor()):
        attention.set_processor(processor)
        output = attention(hidden, context, mask)
        inputs = [context, hidden, *attention.parameters()]
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for dispatched, explicit in zip(*results, strict=True):
        torch.testing.assert_close(explicit, dispatched, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk_tokens", [1, 4, 9, 100])
@torch.no_grad()
def test_streamed_equals_whole(attention, masked, chunk_tokens):
    hidden, context = torch.randn(4, 3, 12), torch.randn(2, 9, 10) * 3
    mask = random_mask(2, 9) if masked else None
    expected = attention(hidden, context, mask)
    torch.testing.assert_close(attention(hidden, context, mask, chunk_tokens=chunk_tokens), expected)


@torch.no_grad()
def test_streamed_passes_over_chunks_without_tokens(attention):
    hidden, context = torch.randn(1, 3, 12), torch.randn(1, 9, 10)
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[:, 6] = True  # the first chunks are empty, then one token
    torch.testing.assert_close(attention(hidden, context, mask, chunk_tokens=2), attention(hidden, context[:, 6:7]))


@torch.no_grad()
def test_streamed_scores_of_any_size_stay_finite(attention):
    hidden, context = torch.randn(1, 3, 12) * 1e3, torch.randn(1, 8, 10) * 1e3
    streamed = attention(hidden, context, chunk_tokens=2)
    assert streamed.isfinite().all()
    torch.testing.assert_close(streamed, attention(hidden, context), atol=1e-2, rtol=1e-3)


@torch.no_grad()
def test_cached_keys_and_values_equal_the_context(attention):
    hidden, context, mask = torch.randn(4, 3, 12), torch.randn(2, 9, 10), random_mask(2, 9)
    cached = attention(hidden, key_value=attention.project_context(context), mask=mask)
    torch.testing.assert_close(cached, attention(hidden, context, mask))


@torch.no_grad()
def test_members_share_their_scene(attention):
    hidden, context, mask = torch.randn(6, 3, 12), torch.randn(2, 9, 10), random_mask(2, 9)
    repeated = attention(hidden, context.repeat_interleave(3, 0), mask.repeat_interleave(3, 0))
    torch.testing.assert_close(attention(hidden, context, mask), repeated)


@torch.no_grad()
def test_masked_tokens_have_no_influence(attention):
    hidden, context, mask = torch.randn(2, 3, 12), torch.randn(2, 9, 10), random_mask(1, 9)
    expected = attention(hidden, context[:, mask[0]])
    torch.testing.assert_close(attention(hidden, context, mask.expand(2, -1)), expected)
