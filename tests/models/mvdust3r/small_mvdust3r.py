"""The smallest models with every part, random weights everywhere, and a plain form of the same computation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyviews.models.mvdust3r import MVDust3rPlusModel


SMALL = {
    "image_size": 8,
    "patch_size": 4,
    "encoder_hidden_size": 16,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_layers": 2,
    "decoder_num_heads": 2,
    "mlp_ratio": 2,
    "num_references": 3,
    "skip_hidden_size": 4,
    "skip_scale": 0.1,
    "gaussian_hidden_size": 8,
    "gaussian_colors": "head",
}

NAMES = ("points", "confidence", "opacities", "scales", "rotations", "harmonics")


def small_model(**overrides) -> MVDust3rPlusModel:
    """A model in evaluation mode whose output depends on everything: nothing is left at zero or one."""
    model = MVDust3rPlusModel.from_size("tiny", **{**SMALL, **overrides}).eval()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and (value.ndim < 2 or not value.any()):
                value.add_(torch.randn_like(value) * 0.2)
    return model


def random_images(batch: int = 2, views: int = 4, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(batch, views, 3, height, width) * 2 - 1


def plain_forward(model: MVDust3rPlusModel, images: Tensor, references: list[int]) -> dict[str, Tensor]:
    """Every path and view by itself, as the method is written down, and nothing shared or fused.

    The heads see all source views of all paths at once, as batch statistics are to be over all of them.
    """
    config, views = model.config, images.shape[1]
    rotation = [turn(images, config, width) for width in (config.encoder_hidden_size, config.decoder_hidden_size)]
    projected = []
    for view in range(views):
        tokens = F.conv2d(images[:, view], model.patch_embedding.weight, model.patch_embedding.bias, config.patch_size)
        tokens = tokens.flatten(2).mT
        for layer in model.encoder_layers:
            normed = layer.self_norm(tokens)
            tokens = tokens + self_attention(layer.self_attention, normed, rotation[0])
            tokens = tokens + layer.mlp(layer.mlp_norm(tokens))
        projected.append(model.encoder_to_decoder(model.encoder_norm(tokens)))
    states = {(path, view): projected[view] for path in range(len(references)) for view in range(views)}
    for index in range(config.decoder_num_layers):
        updated = {}
        for (path, view), tokens in states.items():
            kind = "reference" if view == references[path] else "source"
            others = [states[path, other] for other in range(views) if other != view]
            layer = getattr(model.decoder, f"{kind}_layers")[index]
            updated[path, view] = decoder_layer(layer, tokens, others, rotation[1])
        states = updated
        if config.has_fusion:
            updated = {}
            for (path, view), tokens in states.items():
                others = [states[other, view] for other in range(len(references)) if other != path]
                updated[path, view] = decoder_layer(model.decoder.fusion_layers[index], tokens, others, rotation[1])
            states = updated
    return plain_heads(model, {key: model.decoder.norm(tokens) for key, tokens in states.items()}, images, references)


def plain_heads(model: MVDust3rPlusModel, states: dict, images: Tensor, references: list[int]) -> dict[str, Tensor]:
    found: dict[str, dict] = {}
    for kind in ("reference", "source"):
        chosen = [(path, view) for path, view in states if (view == references[path]) == (kind == "reference")]
        tokens = torch.stack([states[key] for key in chosen], dim=1).flatten(0, 1)
        of_views = torch.stack([images[:, view] for _, view in chosen], dim=1).flatten(0, 1)
        outputs = plain_point_head(getattr(model, f"{kind}_point_head"), tokens, of_views)
        gaussian_head = getattr(model, f"{kind}_gaussian_head")
        if gaussian_head is not None:
            outputs.update(gaussian_head(tokens, of_views))
        for name, values in outputs.items():
            values = values.unflatten(0, (len(images), -1))
            found.setdefault(name, {}).update({key: values[:, i] for i, key in enumerate(chosen)})
    paths, views = range(len(references)), range(images.shape[1])
    return {
        name: torch.stack([torch.stack([of_key[path, view] for view in views], 1) for path in paths], 1)
        for name, of_key in found.items()
    }


def plain_point_head(head: nn.Module, tokens: Tensor, images: Tensor) -> dict[str, Tensor]:
    config = head.config
    grid = (images.shape[-2] // config.patch_size, images.shape[-1] // config.patch_size)
    raw = F.pixel_shuffle(head.projection(tokens).mT.unflatten(2, grid), config.patch_size)
    xyz = raw[:, :3]
    if head.skip is not None:
        maps = torch.cat([images, xyz], dim=1)
        for layer in head.skip.layers:
            maps = layer.norm(layer.conv(maps))
            maps = F.selu(maps) if layer.activate else maps
        xyz = xyz + config.skip_scale * maps
    distance = xyz.norm(dim=1, keepdim=True)
    points = xyz / distance.clamp(min=1e-8) * (distance.exp() - 1)
    confidence = config.confidence_min + raw[:, 3].exp().clamp(max=config.confidence_max - config.confidence_min)
    return {"points": points.permute(0, 2, 3, 1), "confidence": confidence}


def decoder_layer(layer: nn.Module, tokens: Tensor, others: list[Tensor], rotation: tuple) -> Tensor:
    tokens = tokens + self_attention(layer.self_attention, layer.self_norm(tokens), rotation)
    keys, values = [], []
    for other in others:
        key, value = layer.cross_attention.key_value(layer.context_norm(other)).chunk(2, dim=-1)
        keys.append(in_heads(layer.cross_attention, key, rotation))
        values.append(in_heads(layer.cross_attention, value))
    query = in_heads(layer.cross_attention, layer.cross_attention.query(layer.cross_norm(tokens)), rotation)
    attended = product(query, torch.cat(keys, dim=2), torch.cat(values, dim=2))
    tokens = tokens + layer.cross_attention.out(attended)
    return tokens + layer.mlp(layer.mlp_norm(tokens))


def self_attention(attention: nn.Module, tokens: Tensor, rotation: tuple) -> Tensor:
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    return attention.out(
        product(in_heads(attention, query, rotation), in_heads(attention, key, rotation), in_heads(attention, value))
    )


def product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def in_heads(attention: nn.Module, tokens: Tensor, rotation: tuple | None = None) -> Tensor:
    tokens = tokens.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)  # [batch, heads, tokens, head_dim]
    if rotation is None:
        return tokens
    cos, sin = rotation  # of the complex number that each pair of channels makes
    quarter = tokens.shape[-1] // 4
    halves = [tokens[..., : 2 * quarter], tokens[..., 2 * quarter :]]
    turned = []
    for half, c, s in zip(halves, cos, sin, strict=True):
        a, b = half[..., :quarter], half[..., quarter:]
        turned += [a * c - b * s, b * c + a * s]
    return torch.cat(turned, dim=-1)


def turn(images: Tensor, config, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """Cosines and sines of all tokens for rows and for columns."""
    num_heads = config.encoder_num_heads if width == config.encoder_hidden_size else config.decoder_num_heads
    quarter = width // num_heads // 4
    rows, columns = images.shape[-2] // config.patch_size, images.shape[-1] // config.patch_size
    frequencies = torch.tensor([config.rope_base ** (-j / quarter) for j in range(quarter)])
    places = torch.tensor([[row, column] for row in range(rows) for column in range(columns)], dtype=torch.float32)
    angles = [places[:, axis, None] * frequencies for axis in (0, 1)]
    return [a.cos() for a in angles], [a.sin() for a in angles]
