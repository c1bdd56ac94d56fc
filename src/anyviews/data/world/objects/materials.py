"""Materials: metals, paints, plastics, stone, wood, fabric, with patterns, labels and wear; and their evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..lighting.noise import fractal_noise
from .labels import label_layers
from .parts import Part, Parts, Vector
from .patterns import PATTERNS, Surface, hashed


SMALLEST_ROUGHNESS = 0.05


@dataclass(frozen=True)
class Material:
    """How the surface of a part looks.

    Args:
        colors: three linear base colours that the pattern mixes.
        roughness: of each of them.
        metallic: of each of them.
        pattern: a name in PATTERNS.
        period: of the pattern, in units of the object.
        turn: of the pattern, in radians.
        duty: what share of a period the second colour has.
        offset: of the pattern, in periods.
        wear: how strongly noise varies brightness and roughness.
        sides: how strongly the brightness and mix differ between the sides of a part.
        label: colours of ground, text and frame of a label, or None.
        label_face: the side of a part that it is on: 0 to 5 are -x, +x, -y, +y, -z, +z.
        label_center: on this side, in units of the object.
        label_size: half width and half height.
        label_picture: a picture rather than text.
        seed: of letters and the like.
    """

    colors: tuple[Vector, Vector, Vector]
    roughness: Vector
    metallic: Vector
    pattern: str = "plain"
    period: float = 0.2
    turn: float = 0.0
    duty: float = 0.5
    offset: tuple[float, float] = (0.0, 0.0)
    wear: float = 0.0
    sides: float = 0.0
    label: tuple[Vector, Vector, Vector] | None = None
    label_face: int = 5
    label_center: tuple[float, float] = (0.0, 0.0)
    label_size: tuple[float, float] = (0.2, 0.12)
    label_picture: bool = False
    seed: int = 0

    def row(self) -> dict[str, float]:
        """All numbers by name."""
        row = {"pattern": float(list(PATTERNS).index(self.pattern)), "period": self.period, "turn": self.turn}
        row |= {"duty": self.duty, "offset_u": self.offset[0], "offset_v": self.offset[1], "seed": float(self.seed)}
        row |= {"wear": self.wear, "sides": self.sides}
        for k in range(3):
            row |= {f"color_{k}_{c}": value for c, value in enumerate(self.colors[k])}
            row |= {f"roughness_{k}": self.roughness[k], f"metallic_{k}": self.metallic[k]}
        labelled = self.label is not None
        row |= {"label": float(labelled), "label_face": float(self.label_face)}
        row |= {"label_u": self.label_center[0], "label_v": self.label_center[1]}
        row |= {"label_width": self.label_size[0], "label_height": self.label_size[1]}
        row |= {"label_picture": float(self.label_picture)}
        for k in range(3):
            row |= {f"label_{k}_{c}": self.label[k][c] if labelled else 0.0 for c in range(3)}
        return row


@dataclass(frozen=True)
class Appearance:
    """Material parameters of every part of a batch of objects.

    Args:
        table: [B, N, C].
        names: of the C columns.
    """

    table: Float[Tensor, "scenes parts columns"]
    names: tuple[str, ...]


def appearance(objects: Sequence[Sequence[Part]], materials: Sequence[Sequence[Material]], parts: Parts) -> Appearance:
    """Gather what the surfaces of all parts look like."""
    count = max(len(object_parts) for object_parts in objects)
    names, rows = (), []
    for object_parts, object_materials in zip(objects, materials, strict=True):
        described = [_frame_row(part) | object_materials[part.material].row() for part in object_parts]
        names = tuple(described[0])
        values = [list(row.values()) for row in described]
        rows.append(values + [values[-1]] * (count - len(values)))
    table = torch.tensor(rows, dtype=torch.float32).to(parts.radii.device)
    return Appearance(table, names)


def _frame_row(part: Part) -> dict[str, float]:
    """Where the texture of a part is."""
    row = {f"origin_{axis}": value for axis, value in zip("xyz", part.center, strict=True)}
    row |= {f"axis_{k}": value for k, value in enumerate(part.rotation)}
    is_round = (part.revolved and not part.square) or (part.radii[0] > 0 and not part.square)
    # what is repeated around an axis away from it is mapped like a box
    radius = max((abs(x) for x, _ in part.outline), default=0.0) + part.rounding
    radius = part.radii[0] or radius
    return row | {"round": float(is_round), "round_radius": max(radius, 0.02)}


def evaluate(
    looks: Appearance,
    parts: Parts,
    points: Float[Tensor, "scenes points 3"],
    normals: Float[Tensor, "scenes points 3"],
    owners: Float[Tensor, "scenes points"],
    footprint: Float[Tensor, "scenes points"],
) -> Float[Tensor, "scenes points 5"]:
    """Linear base colour, roughness and metallic of surface points.

    Args:
        looks: the materials.
        parts: tell the unit of the materials.
        points: in units of the object.
        normals: unit.
        owners: which part each point belongs to.
        footprint: width of a pixel on the surface, in units of the object.
    """
    scenes, count = owners.shape
    offset = torch.arange(scenes, device=owners.device)[:, None] * looks.table.shape[1]
    rows = looks.table.flatten(0, 1)[(owners.long() + offset).flatten()]
    values = dict(zip(looks.names, rows.T.contiguous(), strict=True))
    radii = parts.radii.expand(-1, count).flatten()
    placed = (points * parts.radii[..., None] + parts.centers[:, None]).flatten(0, 1)
    surface = _mapped(values, placed, normals.flatten(0, 1), footprint.flatten() * radii)
    second, third = torch.zeros_like(radii), torch.zeros_like(radii)
    pattern = values["pattern"]
    for index in pattern.unique().long().tolist():
        chosen = (pattern == index).nonzero()[:, 0]
        mixes = list(PATTERNS.values())[index](surface.select(chosen))
        second[chosen], third[chosen] = mixes
    return _mixed(surface, second, third).unflatten(0, (scenes, count))


def _mapped(values: dict[str, Tensor], points: Tensor, normals: Tensor, footprint: Tensor) -> Surface:
    """Texture coordinates: those of the side of a box that a point faces, or unrolled around the axis."""
    offsets = [points[:, k] - values[f"origin_{axis}"] for k, axis in enumerate("xyz")]

    def turned(vector: list[Tensor]) -> list[Tensor]:
        return [sum(vector[row] * values[f"axis_{3 * row + k}"] for row in range(3)) for k in range(3)]

    x, y, z = turned(offsets)
    nx, ny, nz = turned(list(normals.unbind(-1)))
    axis = torch.stack([nx.abs(), ny.abs(), nz.abs()]).argmax(0)
    positive = torch.where(axis == 0, nx, torch.where(axis == 1, ny, nz)) > 0
    face = (axis * 2 + positive).float()
    sign = positive.float() * 2 - 1
    u = torch.where(axis == 0, -z * sign, torch.where(axis == 1, x, x * sign))
    v = torch.where(axis == 1, -z * sign, y)
    around = (values["round"] > 0) & (ny.abs() < 0.8)
    u = torch.where(around, torch.atan2(x, z) * values["round_radius"], u)
    v = torch.where(around, y, v)
    face = torch.where(around, 5.0, face)
    return Surface(u, v, torch.stack([x, y, z], -1), face, footprint, values)


def _mixed(surface: Surface, second: Tensor, third: Tensor) -> Tensor:
    """Base colour, roughness and metallic of a pattern, with sides, wear and labels."""
    values = surface.values
    x, _, z = surface.position.unbind(-1)
    # a side of a box differs as a whole, what is round differs smoothly
    of_face = hashed(surface.face, values["seed"])
    of_angle = 0.5 + 0.5 * torch.sin(torch.atan2(x, z) + values["offset_u"] * 6)
    side = torch.where(values["round"] > 0, of_angle, of_face) * values["sides"]
    third = third + side * (1 - third)
    channels = []
    for name in ("color_{}_0", "color_{}_1", "color_{}_2", "roughness_{}", "metallic_{}"):
        mixed = torch.lerp(values[name.format(0)], values[name.format(1)], second)
        channels.append(torch.lerp(mixed, values[name.format(2)], third))
    coarse = fractal_noise(surface.position * 2.5 + values["seed"][:, None] * 0.37, 3) * values["wear"]
    fade = (1 - surface.footprint * 12).clamp(0, 1)
    fine = fractal_noise(surface.position * 14 + values["seed"][:, None] * 0.11, 2) * values["wear"] * fade
    # metals keep their colour and lose their polish
    strength = 1 + (0.5 * coarse + 0.3 * fine) * (1 - 0.7 * channels[4])
    for k in range(3):
        channels[k] = channels[k] * strength
    channels[3] = channels[3] + 0.5 * coarse + 0.25 * fine
    labelled = (values["label"] > 0) & (surface.face == values["label_face"])
    if labelled.any():
        chosen = labelled.nonzero()[:, 0]
        color, cover = label_layers(surface.select(chosen))
        for k in range(3):
            channels[k][chosen] = torch.lerp(channels[k][chosen], color[:, k], cover)
        channels[3][chosen] = torch.lerp(channels[3][chosen], torch.full_like(cover, 0.45), cover)
        channels[4][chosen] = channels[4][chosen] * (1 - cover)
    result = torch.stack(channels, dim=-1)
    lowest = result.new_tensor([0.01, 0.01, 0.01, SMALLEST_ROUGHNESS, 0.0])
    return torch.maximum(result, lowest).clamp_(max=1)
