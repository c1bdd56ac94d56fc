"""MV-DUSt3R+ as it is written down: view by view, path by path, nothing shared, nothing kept, all heads of all paths.

The baseline of `benchmark_mvdust3r.py`, and a second opinion on what the model computes: it reads the weights of a
`MVDust3rPlusModel`, never its code. Attention is PyTorch's fused one, as slow as nothing else would be fair.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel


States = dict[tuple[int, int], Tensor]  # (path, view) to tokens [batch, tokens, width]


@torch.no_grad()
def literal_forward(model: MVDust3rPlusModel, images: Tensor, num_paths: int) -> dict[str, Tensor]:
    """Points, confidence and Gaussians of all paths in evaluation; the first views are the references.

    Args:
        model: whose weights are used.
        images: [batch, views, 3, height, width] in [-1, 1].
        num_paths: how many of the views are a reference.

    Returns:
        The fields of `MVDust3rPlusOutput`, [batch, paths, views, height, width, ...], views in their own order.
    """
    views = range(images.shape[1])
    config, encoded = model.config, [encode(model, images[:, view]) for view in views]
    grid = torch.tensor(images.shape[-2:]) // config.patch_size
    states = {(path, view): encoded[view] for path in range(num_paths) for view in views}
    for index in range(config.decoder_num_layers):
        states = update_views(model, index, states, grid)
        if config.has_fusion:
            states = fuse_paths(model, index, states, grid)
    outputs = {}
    for (path, view), tokens in states.items():
        kind = "reference" if path == view else "source"
        tokens = normalise(model.decoder.norm, tokens)
        output = point_head(getattr(model, f"{kind}_point_head"), config, tokens, images[:, view])
        if config.use_gaussians:
            output |= gaussian_head(getattr(model, f"{kind}_gaussian_head"), config, tokens, images[:, view])
        outputs[path, view] = output
    return {
        name: torch.stack(
            [torch.stack([outputs[path, view][name] for view in views], 1) for path in range(num_paths)], 1
        )
        for name in outputs[0, 0]
    }


def encode(model: MVDust3rPlusModel, image: Tensor) -> Tensor:
    config = model.config
    grid = torch.tensor(image.shape[-2:]) // config.patch_size
    tokens = F.conv2d(image, model.patch_embedding.weight, model.patch_embedding.bias, config.patch_size)
    tokens = tokens.flatten(2).transpose(1, 2)
    for layer in model.encoder_layers:
        tokens = tokens + self_attention(layer.self_attention, config, normalise(layer.self_norm, tokens), grid)
        tokens = tokens + feed_forward(layer.mlp, normalise(layer.mlp_norm, tokens))
    return linear(model.encoder_to_decoder, normalise(model.encoder_norm, tokens))


def update_views(model: MVDust3rPlusModel, index: int, states: States, grid: Tensor) -> States:
    updated = {}
    for (path, view), tokens in states.items():
        layers = model.decoder.reference_layers if path == view else model.decoder.source_layers
        others = [states[p, v] for p, v in states if p == path and v != view]
        updated[path, view] = decoder_layer(layers[index], model.config, tokens, others, grid)
    return updated


def fuse_paths(model: MVDust3rPlusModel, index: int, states: States, grid: Tensor) -> States:
    fused = {}
    for (path, view), tokens in states.items():
        others = [states[p, v] for p, v in states if p != path and v == view]
        fused[path, view] = decoder_layer(model.decoder.fusion_layers[index], model.config, tokens, others, grid)
    return fused


def decoder_layer(
    layer: nn.Module, config: MVDust3rPlusConfig, tokens: Tensor, others: list[Tensor], grid: Tensor
) -> Tensor:
    tokens = tokens + self_attention(layer.self_attention, config, normalise(layer.self_norm, tokens), grid)
    context = torch.cat([normalise(layer.context_norm, other) for other in others], dim=1)
    cross, queries = layer.cross_attention, normalise(layer.cross_norm, tokens)
    key_weights, value_weights = cross.key_value.weight.chunk(2)
    key_biases, value_biases = cross.key_value.bias.chunk(2)
    query = rotate(in_heads(linear(cross.query, queries), cross.num_heads), config, grid)
    key = rotate(in_heads(F.linear(context, key_weights, key_biases), cross.num_heads), config, grid)
    value = in_heads(F.linear(context, value_weights, value_biases), cross.num_heads)
    tokens = tokens + linear(cross.out, attend(query, key, value))
    return tokens + feed_forward(layer.mlp, normalise(layer.mlp_norm, tokens))


def self_attention(attention: nn.Module, config: MVDust3rPlusConfig, tokens: Tensor, grid: Tensor) -> Tensor:
    query, key, value = (in_heads(t, attention.num_heads) for t in linear(attention.qkv, tokens).chunk(3, dim=-1))
    return linear(attention.out, attend(rotate(query, config, grid), rotate(key, config, grid), value))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def in_heads(tokens: Tensor, num_heads: int) -> Tensor:
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # [batch, heads, tokens, head_dim]


def rotate(states: Tensor, config: MVDust3rPlusConfig, grid: Tensor) -> Tensor:
    """Rows turn the first half of the channels, columns the second; all views have the same positions."""
    rows, columns = (torch.arange(count, device=states.device) for count in grid.tolist())
    position = torch.cartesian_prod(rows, columns).repeat(states.shape[2] // (len(rows) * len(columns)), 1)
    turned = []
    for axis, half in enumerate(states.chunk(2, dim=-1)):
        width = half.shape[-1]
        frequencies = config.rope_base ** (-torch.arange(0, width, 2, device=states.device) / width)
        angles = (position[:, axis, None] * frequencies).repeat(1, 2)
        first, second = half.chunk(2, dim=-1)
        turned.append(half * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin())
    return torch.cat(turned, dim=-1)


def point_head(head: nn.Module, config: MVDust3rPlusConfig, tokens: Tensor, image: Tensor) -> dict[str, Tensor]:
    raw = to_pixels(linear(head.projection, tokens), image, config.patch_size)
    xyz, confidence = raw[:, :3], raw[:, 3]
    if head.skip is not None:
        maps = torch.cat([image, xyz], dim=1)
        for layer in head.skip.layers:
            maps = F.conv2d(maps, layer.conv.weight, layer.conv.bias, padding=layer.conv.padding)
            norm = layer.norm
            maps = F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
            maps = F.selu(maps) if layer.activate else maps
        xyz = xyz + config.skip_scale * maps
    distance = xyz.norm(dim=1, keepdim=True)
    points = xyz / distance.clamp(min=1e-8) * (distance.exp() - 1)
    lowest, highest = config.confidence_min, config.confidence_max
    return {
        "points": points.permute(0, 2, 3, 1),
        "confidence": lowest + confidence.exp().clamp(max=highest - lowest),
    }


def gaussian_head(head: nn.Module, config: MVDust3rPlusConfig, tokens: Tensor, image: Tensor) -> dict[str, Tensor]:
    tokens = normalise(head.norm, tokens)
    maps = {
        name: to_pixels(linear(mlp.down, F.relu(linear(mlp.up, tokens))), image, config.patch_size).permute(0, 2, 3, 1)
        for name, mlp in head.mlps.items()
    }
    outputs = {
        "opacities": maps["opacity"][..., 0].sigmoid(),
        "scales": config.gaussian_scale * maps["scale"],
        "rotations": F.normalize(maps["rotation"], dim=-1, eps=1e-5),
    }
    return outputs | ({"harmonics": maps["color"]} if "color" in maps else {})


def to_pixels(tokens: Tensor, image: Tensor, patch: int) -> Tensor:
    rows, columns = image.shape[-2] // patch, image.shape[-1] // patch
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), patch)


def linear(layer: nn.Linear, tokens: Tensor) -> Tensor:
    return F.linear(tokens, layer.weight, layer.bias)


def normalise(norm: nn.LayerNorm, tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def feed_forward(mlp: nn.Module, tokens: Tensor) -> Tensor:
    return linear(mlp.down, F.gelu(linear(mlp.up, tokens)))
