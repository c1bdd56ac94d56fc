"""The smallest model with every part, random weights everywhere, and a plain form of what it looks up and renders."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from anyviews.models.lirm import LIRMModel, LIRMPlanes


SMALL = {
    "image_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "fuse_hidden_size": 24,
    "plane_token_size": 4,
    "plane_upsample": 2,
    "plane_dim": 6,
    "sweep_size": 0,
    "use_photos": False,
    "nde_token_size": 4,
    "nde_upsample": 2,
    "nde_dim": 5,
    "mlp_dim": 12,
    "sdf_bias_radius": 0.6,
    "num_samples": 32,
    "sdf_inv_std": 40.0,
    "density_inset": 0.0,
}

MATERIALS = ("radiance", "base_colors", "roughness", "metallic", "normals")


def small_model(**overrides) -> LIRMModel:
    """A model in evaluation mode whose output depends on everything: nothing is left at zero or one."""
    model = LIRMModel.from_size("tiny", **{**SMALL, **overrides}).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith("decoders."):
                value.mul_(3)  # fresh decoders say almost nothing
            elif value.ndim < 2 or not value.any() or "length" in name:
                value.add_(torch.randn_like(value) * 0.2)
            elif "embedding" in name:
                value.mul_(3)
    return model


def random_planes(model: LIRMModel, batch: int = 2) -> LIRMPlanes:
    """Planes and panoramas that no network made."""
    config = model.config
    size, panorama = config.plane_resolution, config.panorama_resolution
    planes = torch.randn(batch, config.num_planes, size, size, config.plane_dim)
    if config.nde_type != "panorama":
        return LIRMPlanes(planes)
    return LIRMPlanes(planes, torch.randn(batch, config.nde_panoramas, panorama, panorama, config.nde_dim))


def ball_model(radius: float = 0.35, **overrides) -> LIRMModel:
    """A model whose shape is a ball, whatever the planes hold."""
    model = small_model(**overrides)
    model.config.sdf_bias_radius = radius / model.config.box_radius
    with torch.no_grad():
        model.decoders.heads["sdf"].last.weight.zero_()
    return model


def photos(batch: int = 2, views: int = 3, size: int = 16) -> dict[str, Tensor]:
    """Random images with rays of random cameras around the object."""
    centers = F.normalize(torch.randn(batch, views, 3), dim=-1) * 1.5
    directions = F.normalize(torch.randn(batch, views, 3, size, size) * 0.2 - centers[..., None, None], dim=2)
    return {
        "images": torch.rand(batch, views, 3, size, size) * 2 - 1,
        "origins": centers[..., None, None].expand_as(directions).contiguous(),
        "directions": directions,
        "backgrounds": torch.rand(batch, views, 3, size, size) * 2 - 1,
    }


def rays(batch: int = 2, count: int = 40) -> tuple[Tensor, Tensor]:
    """Rays from outside towards the box; some miss it."""
    origins = F.normalize(torch.randn(batch, count, 3), dim=-1) * 1.4
    return origins, F.normalize(torch.rand(batch, count, 3) * 1.2 - 0.6 - origins, dim=-1)


def plain_features(model: LIRMModel, planes: Tensor, points: Tensor) -> Tensor:
    """Features of points [P, 3] on the planes [N, S, S, C] of one object, plane by plane with torch's grid_sample."""
    places = points / model.config.box_radius
    found = []
    for pair, (column, row, dropped) in enumerate(((0, 1, 2), (0, 2, 1), (1, 2, 0))):
        grid = places[:, [column, row]][None, None]
        sides = planes.unflatten(0, (3, -1))[pair].permute(0, 3, 1, 2)  # [signs, C, S, S]
        values = [
            F.grid_sample(side[None], grid, padding_mode="border", align_corners=True)[0, :, 0].mT for side in sides
        ]
        positive = points[:, dropped, None] > 0
        found.append(values[0] if len(values) == 1 else torch.where(positive, values[0], values[1]))
    return torch.cat(found, dim=-1)


def plain_head(model: LIRMModel, name: str, features: Tensor) -> Tensor:
    head = model.decoders.heads[name]
    states = F.relu(features @ head.first.weight.T)
    for layer in head.hidden:
        states = F.relu(states @ layer.weight.T)
    return states @ head.last.weight.T


def plain_query(model: LIRMModel, planes: LIRMPlanes, index: int, points: Tensor, directions: Tensor | None) -> dict:
    """All fields of one object at points [P, 3], from concatenated features."""
    radius = model.config.box_radius
    features = plain_features(model, planes.planes[index], points)
    sdf = plain_head(model, "sdf", features).tanh() * radius * math.sqrt(3) * 1.5
    sdf = sdf + points.norm(dim=-1, keepdim=True) - model.config.sdf_bias_radius * radius
    normals = F.normalize(plain_head(model, "normal", features) + F.normalize(points, dim=-1), dim=-1)
    materials = plain_head(model, "roughness_metallic", features).sigmoid()
    seen = features
    if model.config.nde_type == "panorama":
        seen = torch.cat([features, plain_reflection(model, planes, index, features, normals, directions)], dim=-1)
    return {
        "sdf": sdf,
        "normals": normals,
        "base_colors": plain_head(model, "base_color", features).sigmoid(),
        "roughness": materials[:, :1],
        "metallic": materials[:, 1:],
        "radiance": plain_head(model, "radiance", seen).sigmoid(),
        "features": features,
    }


def plain_reflection(model, planes, index, features, normals, directions) -> Tensor:
    """Section 3 as it is written, with torch's trilinear grid_sample; a first row is put behind the last."""
    normals = normals.detach()
    mirrored = (
        normals if directions is None else directions - 2 * (directions * normals).sum(-1, keepdim=True) * normals
    )
    mirrored = F.normalize(mirrored, dim=-1)
    azimuth = torch.atan2(mirrored[:, 0], mirrored[:, 1]) / math.pi
    level = 2 * plain_head(model, "panorama_level", features)[:, 0].sigmoid() - 1
    volume = planes.panoramas[index]
    if model.config.nde_wrap:
        volume = torch.cat([volume, volume[:, :1]], dim=1)
    grid = torch.stack([mirrored[:, 2], azimuth, level], dim=-1)[None, None, None]
    sampled = F.grid_sample(volume.permute(3, 0, 1, 2)[None], grid, padding_mode="border", align_corners=True)
    return sampled[0, :, 0, 0].mT


def plain_render(model, planes, origins, directions, samples: int, sharpness: float) -> dict[str, Tensor]:
    """Every ray by itself, every sample evaluated."""
    radius = model.config.box_radius
    step = 2 * math.sqrt(3) * radius / samples
    found: dict[str, list] = {}
    for index in range(len(origins)):
        for origin, direction in zip(origins[index], directions[index], strict=True):
            entry, leave = (-radius - origin) / direction, (radius - origin) / direction
            near = float(torch.minimum(entry, leave).max().clamp(min=0))
            far = float(torch.maximum(entry, leave).min())
            along = torch.tensor([t for t in (near + (i + 0.5) * step for i in range(samples)) if t < far])
            points = origin + along[:, None] * direction
            fields = plain_query(model, planes, index, points, direction.expand_as(points))
            s = fields["sdf"][:, 0] + model.config.density_inset / sharpness
            sigma = torch.where(s > 0, 0.5 * (-sharpness * s).exp(), 1 - 0.5 * (sharpness * s).exp()) * sharpness
            alpha = 1 - (-sigma * step).exp()
            weights = alpha * torch.cat([torch.ones(1), (1 - alpha).cumprod(0)])[: len(alpha)]
            opacity = weights.sum()
            maps = {name: (weights[:, None] * fields[name]).sum(0) + 1 - opacity for name in MATERIALS}
            depth = (weights * along).sum() / opacity.clamp(min=0.98) if opacity > 0.98 else torch.zeros(())
            for name, value in {**maps, "opacity": opacity[None], "depth": depth[None]}.items():
                found.setdefault(name, []).append(value)
    return {name: torch.stack(values).unflatten(0, origins.shape[:2]) for name, values in found.items()}
