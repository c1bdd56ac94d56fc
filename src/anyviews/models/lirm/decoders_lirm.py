"""Decoders of LIRM: from features at points to signed distance, materials, normals and radiance.

Every decoder is a small ReLU network without biases whose first layer is linear in the features, which are themselves
interpolated from planes. So that layer is applied to the planes (`project`), and interpolating the result equals
applying it to interpolated features, at a fifth of the work or less.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...geometry.spherical_harmonics import harmonic_basis
from .configuration_lirm import LIRMConfig
from .linear_lirm import linear
from .photos_lirm import LIRMPhotos
from .planes_lirm import LIRMPlanes, Rows, panorama_corners, plane_corners, weighted_rows


SH_DEGREE = 2

# So small that an untrained model shows a ball.
SDF_GAIN = 0.25


@dataclass(frozen=True)
class LIRMFields:
    """What is at points of a batch of objects; fields that a model does not predict are None.

    Args:
        sdf: [B, P, 1] signed distance to the surface, negative inside, in units of the object frame.
        base_colors: [B, P, 3] sRGB in [0, 1].
        roughness, metallic: [B, P, 1] in [0, 1], linear.
        normals: [B, P, 3] unit, in the object frame.
        radiance: [B, P, 3] sRGB in [0, 1], towards the viewer.
        features: [B, P, 3 * plane_dim], interpolated features of the three planes.
    """

    sdf: Float[Tensor, "*batch 1"]
    base_colors: Float[Tensor, "*batch 3"] | None = None
    roughness: Float[Tensor, "*batch 1"] | None = None
    metallic: Float[Tensor, "*batch 1"] | None = None
    normals: Float[Tensor, "*batch 3"] | None = None
    radiance: Float[Tensor, "*batch 3"] | None = None
    features: Float[Tensor, "*batch features"] | None = None


# What is known of a point in a photo: how much it faces the photo, how near the photo is to the viewer, cover, and how
# its colour differs from that of the other photos; and how much the first three count at the start.
PHOTO_CHANNELS = 6
BLEND_WIDTH = 8
FIRST_PREFERENCE = (4.0, 1.5, 0.0)
# Photos whose direction differs from the viewer's by less (1 minus the cosine) are equally near.
SAME_DIRECTION = 0.002

# Step of the differences whose direction learned normals start from, in units of the object frame.
SLOPE_STEP = 0.02

# Base colours are decoded as a change of the radiance, within these bounds.
COPIED_RANGE = (0.02, 0.98)

# The table of the panoramas, beside those that are named for the decoders.
PANORAMAS = "panoramas"


@dataclass(frozen=True)
class LIRMTables:
    """Planes and panoramas behind the first layers of the decoders.

    Args:
        tables: of the planes by decoder, [B * P * S * S, mlp_dim], laid out as `LIRMPlanes.planes`; of the panoramas
            as the radiance sees them, [B * Q * H * W, mlp_dim].
        batch: objects.
        gradient_sums: where gradients of the tables are added up, see `weighted_rows`.
        photos: of the objects, if the model keeps them.
    """

    tables: dict[str, Float[Tensor, "_ channels"]]
    batch: int
    gradient_sums: dict[str, Float[Tensor, "_ channels"]] | None = None
    photos: LIRMPhotos | None = None

    def look_up(self, name: str, rows: Rows) -> Float[Tensor, "points channels"]:
        """Interpolated values of a table."""
        return weighted_rows(self.tables[name], rows, self.gradient_sums and self.gradient_sums[name])

    def apart(self) -> "LIRMTables":
        """The same values without their history, with sums of gradients that are still zero."""
        tables = {name: table.detach().requires_grad_() for name, table in self.tables.items()}
        sums = {name: torch.zeros_like(table) for name, table in self.tables.items()}
        return LIRMTables(tables, self.batch, sums, self.photos)


class LIRMHead(nn.Module):
    """A ReLU network without biases, whose first layer is applied to planes ahead of their look-up.

    Args:
        inputs: channels of the concatenated features.
        hidden: width.
        depth: hidden layers, the first one included.
        outputs: channels; None for those of the last hidden layer, which another module reads.
        gain: of the initial weights.
    """

    def __init__(self, inputs: int, hidden: int, depth: int, outputs: int | None, gain: float):
        super().__init__()
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(depth - 1))
        self.last = None if outputs is None else nn.Linear(hidden, outputs, bias=False)
        for layer in (self.first, *self.hidden, self.last):
            if layer is not None:
                layer.gain = gain

    def project(self, planes: Float[Tensor, "batch planes size size channels"]) -> Float[Tensor, "rows hidden"]:
        """The first layer's share of each texel."""
        channels = planes.shape[-1]
        pairs = planes.unflatten(1, (3, -1)).unbind(1)
        weights = self.first.weight[:, : 3 * channels].split(channels, dim=1)
        projected = [linear(pair, weight) for pair, weight in zip(pairs, weights, strict=True)]
        return torch.stack(projected, dim=1).flatten(0, -2)

    def project_panoramas(
        self, panoramas: Float[Tensor, "batch panoramas azimuths heights channels"]
    ) -> Float[Tensor, "rows hidden"]:
        """The same for the channels behind those of the planes."""
        return linear(panoramas, self.first.weight[:, -panoramas.shape[-1] :]).flatten(0, -2)

    def forward(self, projected: Float[Tensor, "points hidden"]) -> Float[Tensor, "points outputs"]:
        """The further layers, on looked-up values of the first."""
        states = F.relu(projected)
        for layer in self.hidden:
            states = linear(states, layer.weight, relu=True)
        return states if self.last is None else self.last(states)


class LIRMBlend(nn.Module):
    """Chooses between a decoded radiance and the colours that photos show at a point.

    Photos that look at the surface face on, and from about where the viewer stands, are preferred from the start.
    """

    def __init__(self, width: int):
        super().__init__()
        self.point = nn.Linear(width, BLEND_WIDTH)
        self.photo = nn.Linear(PHOTO_CHANNELS, BLEND_WIDTH, bias=False)
        self.score = nn.Linear(BLEND_WIDTH, 1, bias=False)
        self.own = nn.Linear(BLEND_WIDTH, 1)
        self.preference = nn.Parameter(torch.tensor(FIRST_PREFERENCE))

    def forward(
        self,
        radiance: Float[Tensor, "points 3"],
        features: Float[Tensor, "points width"],
        colors: Float[Tensor, "points views 3"],
        cover: Float[Tensor, "points views"],
        towards: Float[Tensor, "points views 3"],
        normals: Float[Tensor, "points 3"],
        viewer: Float[Tensor, "points 3"],
    ) -> Float[Tensor, "points 3"]:
        """Radiance [N, 3].

        Args:
            radiance: decoded.
            features: of the points, behind a ReLU.
            colors, cover, towards: see `LIRMPhotos.look_up`.
            normals, viewer: unit, away from the surface and towards the viewer.
        """
        facing = (towards * normals[:, None]).sum(-1)
        aligned = (towards * viewer[:, None]).sum(-1)
        nearness = -(1 - aligned).clamp(min=SAME_DIRECTION).log()
        told = torch.stack([facing, nearness, cover], dim=-1)
        common = (colors * cover[..., None]).sum(1) / cover.sum(1).clamp(min=1e-3)[:, None]
        further = colors - common[:, None]
        point = linear(features, self.point.weight, self.point.bias)
        hidden = F.relu(self.photo(torch.cat([told, further], dim=-1)) + point[:, None])
        scores = self.score(hidden)[..., 0] + told @ self.preference + cover.clamp(min=1e-3).log()
        scores = torch.cat([self.own(F.relu(point)), scores], dim=1).softmax(dim=1)
        return scores[:, :1] * radiance + (scores[:, 1:, None] * colors).sum(1)


class LIRMDecoders(nn.Module):
    """All decoders of the model."""

    def __init__(self, config: LIRMConfig):
        super().__init__()
        self.config = config
        features, width, gain = 3 * config.plane_dim, config.mlp_dim, config.appearance_gain
        heads = {
            "sdf": LIRMHead(features, width, config.sdf_depth, 1, SDF_GAIN),
            "normal": LIRMHead(features, width, config.normal_depth, 3, gain),
        }
        if config.prediction_type != "rgb":
            heads["base_color"] = LIRMHead(features, width, config.brdf_depth, 3, gain)
            heads["roughness_metallic"] = LIRMHead(features, width, config.brdf_depth, 2, gain)
        self.has_panoramas = config.prediction_type != "brdf" and config.nde_type == "panorama"
        if config.prediction_type != "brdf":
            inputs = features + (config.nde_dim if self.has_panoramas else 0)
            outputs = 3 * (SH_DEGREE + 1) ** 2 if config.nde_type == "sh" else 3
            heads["radiance"] = LIRMHead(inputs, width, config.rgb_depth, outputs, gain)
        if self.has_panoramas:
            heads["panorama_level"] = LIRMHead(features, width, config.rho_depth, 1, gain)
        if config.use_photos:
            heads["blend"] = LIRMHead(features, width, 1, None, gain)
        self.heads = nn.ModuleDict(heads)
        self.blend = LIRMBlend(width) if config.use_photos else None

    def project_distances(self, planes: LIRMPlanes) -> LIRMTables:
        """Apply the first layer of the distance alone, where nothing else is asked for."""
        return LIRMTables({"sdf": self.heads["sdf"].project(planes.planes)}, len(planes), photos=planes.photos)

    def project(self, planes: LIRMPlanes) -> LIRMTables:
        """Apply the first layers to planes and panoramas."""
        tables = {name: head.project(planes.planes) for name, head in self.heads.items()}
        if self.has_panoramas:
            tables[PANORAMAS] = self.heads["radiance"].project_panoramas(planes.panoramas)
        return LIRMTables(tables, len(planes), photos=planes.photos)

    def corners(self, points: Float[Tensor, "points 3"], objects: Int[Tensor, "points"]) -> Rows:
        """Where points are looked up in the planes of their objects."""
        config = self.config
        return plane_corners(points, objects, config.box_radius, config.num_planes, config.plane_resolution)

    def signed_distances(
        self, tables: LIRMTables, rows: Rows, first: Float[Tensor, "points"]
    ) -> Float[Tensor, "points"]:
        """Distances to the shape at the start, `first`, plus a learned, bounded correction."""
        return self.correct(self.heads["sdf"](tables.look_up("sdf", rows)), first)

    def first_distances(
        self, tables: LIRMTables, points: Float[Tensor, "points 3"], objects: Int[Tensor, "points"]
    ) -> Float[Tensor, "points"]:
        """Signed distances to a small ball, or to the visual hull if photos are kept."""
        radius = self.config.box_radius
        if tables.photos is not None:
            return tables.photos.outside(points, objects, radius)
        return points.norm(dim=-1) - self.config.sdf_bias_radius * radius

    def correct(self, learned: Float[Tensor, "points 1"], first: Float[Tensor, "points"]) -> Float[Tensor, "points"]:
        """Signed distances from the decoder's output and those to the shape at the start."""
        return learned[:, 0].tanh() * (self.config.sdf_range * math.sqrt(3) * self.config.box_radius) + first

    def distance_normals(
        self,
        tables: LIRMTables,
        points: Float[Tensor, "points 3"],
        objects: Int[Tensor, "points"],
        distances: Float[Tensor, "points"],
        step: float,
    ) -> Float[Tensor, "points 3"]:
        """Directions in which signed distances grow from `distances`, those at the points, by forward differences."""
        moved = (points[:, None] + step * torch.eye(3, device=points.device)).flatten(0, 1)
        objects = objects.repeat_interleave(3)
        first = self.first_distances(tables, moved, objects)
        ahead = self.signed_distances(tables, self.corners(moved, objects), first)
        return F.normalize(ahead.view(-1, 3) - distances[:, None], dim=-1)

    def appearance(
        self,
        tables: LIRMTables,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"] | None,
        objects: Int[Tensor, "points"],
        rows: Rows,
        distances: Float[Tensor, "points"],
    ) -> dict[str, Float[Tensor, "points channels"]]:
        """Normals, and of the materials and the radiance what the model predicts, by their names in `LIRMFields`.

        Args:
            tables: of `project`.
            points: [N, 3].
            directions: [N, 3], unit, from the viewer to the point; None to look along the normal.
            objects: [N], which object of the batch.
            rows: of `corners`.
            distances: [N], of `signed_distances`.
        """
        outwards = F.normalize(points, dim=-1)
        if self.blend is not None:
            with torch.no_grad():
                outwards = self.distance_normals(tables, points, objects, distances, SLOPE_STEP)
        found = {"normals": F.normalize(self._decode("normal", tables, rows) + outwards, dim=-1)}
        if "radiance" in self.heads:
            normals = found["normals"].detach()
            found["radiance"] = self._radiance(tables, normals, directions, objects, rows)
            if self.blend is not None:
                shown = tables.photos.look_up(points, objects)
                towards = normals if directions is None else -directions
                own = self._decode("blend", tables, rows)
                found["radiance"] = self.blend(found["radiance"], own, *shown, normals, towards)
        if "base_color" in self.heads:
            raw = self._decode("base_color", tables, rows)
            if self.blend is not None:
                raw = raw + found["radiance"].detach().clamp(*COPIED_RANGE).logit()
            found["base_colors"] = raw.sigmoid()
            materials = self._decode("roughness_metallic", tables, rows).sigmoid()
            found["roughness"], found["metallic"] = materials.split(1, dim=-1)
        return found

    def _decode(self, name: str, tables: LIRMTables, rows: Rows) -> Tensor:
        return self.heads[name](tables.look_up(name, rows))

    def _radiance(
        self, tables: LIRMTables, normals: Tensor, directions: Tensor | None, objects: Tensor, rows: Rows
    ) -> Tensor:
        projected = tables.look_up("radiance", rows)
        if self.has_panoramas:
            projected = projected + self._reflected(tables, normals, directions, objects, rows)
        raw = self.heads["radiance"](projected)
        if self.config.nde_type == "sh":
            basis = harmonic_basis(-normals if directions is None else directions, SH_DEGREE)
            raw = (raw.unflatten(-1, (-1, 3)) * basis[..., None]).sum(-2)
        return raw.sigmoid()

    def _reflected(
        self, tables: LIRMTables, normals: Tensor, directions: Tensor | None, objects: Tensor, rows: Rows
    ) -> Tensor:
        """What the panoramas show in the mirror direction, between the two next to the learned level."""
        config = self.config
        mirrored = normals
        if directions is not None:
            along = (directions * normals).sum(-1, keepdim=True)
            mirrored = F.normalize(directions - 2 * along * normals, dim=-1)
        size, count = config.panorama_resolution, config.nde_panoramas
        corners = panorama_corners(mirrored, objects, count, size, config.nde_wrap)
        if count == 1:
            return tables.look_up(PANORAMAS, corners)
        level = self._decode("panorama_level", tables, rows).sigmoid() * (count - 1)  # [N, 1]
        lower = level.detach().floor().clamp(max=count - 2)
        corners = Rows(corners.indices + lower.int() * size**2, corners.weights)
        upper = Rows(corners.indices + size**2, corners.weights)
        below, above = (tables.look_up(PANORAMAS, place) for place in (corners, upper))
        return torch.lerp(below, above, level - lower)
