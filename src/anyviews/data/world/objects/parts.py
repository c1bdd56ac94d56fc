"""The parts that objects are made of, and their parameters as tensors for batches of objects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


Vector = tuple[float, float, float]
Outline = Sequence[tuple[float, float]]

# What a part does to all parts before it: signs of their distance and of its own in a (smooth) minimum.
OPERATIONS = {"add": (1.0, 1.0), "cut": (-1.0, 1.0), "keep": (-1.0, -1.0)}
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# where a part is put that an object does not have
FAR_AWAY = (0.0, 1e3, 0.0)
SHARPEST = 1e-4


@dataclass(frozen=True)
class Part:
    """One solid: an outline revolved about y, or extruded along z, or (with radii) a superellipsoid.

    Args:
        outline: corners (x, y) of a simple polygon; a single point or two are allowed when rounded.
        revolved: whether the outline, in x >= 0, turns about the y axis; else it is extruded along z.
        half_depth: of the extrusion.
        rounding: radius that is added all around.
        shell: half the thickness of a hollow shell; 0 for a solid.
        square: 0 for round cross-sections of what is revolved, 1 for square ones with rounded corners.
        radii: of a superellipsoid, which then replaces the outline; 0 for none.
        center: where the part is, before it is mirrored and repeated.
        rotation: columns are the part's axes in the object, row by row.
        mirrored: whether a copy stands on the other side of x = 0, and of z = 0.
        radial: copies around the y axis, for parts near +x.
        repeats: copies along x, y and z before the part is placed.
        spacing: of these copies.
        elongation: half lengths of straight pieces inserted in the middle along x, y and z.
        ripple: height of waves on the surface.
        ripple_waves: radians per unit along x, y and z of the part.
        operation: "add" to what is there, "cut" from it, or "keep" of it only what lies inside.
        blend: radius of the fillet.
        material: index into the object's materials.
    """

    outline: Outline = ((0.0, 0.0),)
    revolved: bool = False
    half_depth: float = 0.0
    rounding: float = 0.0
    shell: float = 0.0
    square: float = 0.0
    radii: Vector = (0.0, 0.0, 0.0)
    center: Vector = (0.0, 0.0, 0.0)
    rotation: tuple[float, ...] = IDENTITY
    mirrored: tuple[bool, bool] = (False, False)
    radial: int = 1
    repeats: tuple[int, int, int] = (1, 1, 1)
    spacing: Vector = (1.0, 1.0, 1.0)
    elongation: Vector = (0.0, 0.0, 0.0)
    ripple: float = 0.0
    ripple_waves: Vector = (0.0, 0.0, 0.0)
    operation: str = "add"
    blend: float = 0.0
    material: int = 0


def rotation_about(axis: str, degrees: float) -> tuple[float, ...]:
    """The rotation about "x", "y" or "z", row by row."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = {"x": (1, 0, 0, 0, c, -s, 0, s, c), "y": (c, 0, s, 0, 1, 0, -s, 0, c), "z": (c, -s, 0, s, c, 0, 0, 0, 1)}
    return tuple(float(value) for value in rows[axis])


def chained(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    """The rotation that applies `second`, then `first`."""
    return tuple(sum(first[3 * i + k] * second[3 * k + j] for k in range(3)) for i in range(3) for j in range(3))


@dataclass(frozen=True)
class Slot:
    """The i-th part of every object of a batch.

    Args:
        values: parameters by name, [B, 1] each.
        edges: of the outlines: start x, y; direction x, y; direction over squared length x, y, [B, 1] each.
        features: names of what any of these parts needs; the rest is skipped.
    """

    values: dict[str, Float[Tensor, "scenes 1"]]
    edges: list[tuple[Tensor, ...]]
    features: frozenset[str]


@dataclass(frozen=True)
class Parts:
    """The parts of a batch of objects, and where their bounding balls are.

    Args:
        slots: the parts, in the order in which they are applied.
        centers: [B, 3], of the objects in the coordinates of their parts.
        radii: [B, 1], length in these coordinates that is 1 in the object's.
    """

    slots: list[Slot] = field(repr=False)
    centers: Float[Tensor, "scenes 3"]
    radii: Float[Tensor, "scenes 1"]

    def frames(self) -> tuple[Float[Tensor, "scenes parts 3"], Float[Tensor, "scenes parts 9"]]:
        """Centres and rotations of all parts, in the coordinates of the parts."""
        names = ["center_x", "center_y", "center_z"]
        centers = torch.stack([torch.cat([slot.values[name] for name in names], -1) for slot in self.slots], 1)
        rotations = torch.stack(
            [torch.cat([slot.values[f"rotation_{k}"] for k in range(9)], -1) for slot in self.slots], 1
        )
        return centers, rotations


def pack(objects: Sequence[Sequence[Part]], device: torch.device | str) -> Parts:
    """Tensors of the parts of several objects; shorter lists are filled up with parts far away."""
    count = max(len(parts) for parts in objects)
    absent = Part(rounding=1e-3, center=FAR_AWAY)
    columns = zip(*([*parts, *[absent] * (count - len(parts))] for parts in objects), strict=True)
    slots = [_slot(column, device) for column in columns]
    centers = torch.zeros(len(objects), 3, device=device)
    return Parts(slots, centers, torch.ones(len(objects), 1, device=device))


def _slot(parts: Sequence[Part], device: torch.device | str) -> Slot:
    rows = [_row(part) for part in parts]
    table = torch.tensor([list(row.values()) for row in rows], dtype=torch.float32).to(device)
    values = {name: table[:, i : i + 1] for i, name in enumerate(rows[0])}
    corners = max(len(part.outline) for part in parts)
    edges = torch.tensor([_edges(part.outline, corners) for part in parts], dtype=torch.float32).to(device)
    return Slot(
        values=values,
        edges=[tuple(edges[:, k, i : i + 1] for i in range(6)) for k in range(corners)],
        features=frozenset().union(*(_features(part) for part in parts)),
    )


def _row(part: Part) -> dict[str, float]:
    """All numbers of a part but its outline, by name."""
    axes = ("x", "y", "z")
    sign_all, sign_part = OPERATIONS[part.operation]
    row = {f"center_{axis}": value for axis, value in zip(axes, part.center, strict=True)}
    row |= {f"rotation_{k}": value for k, value in enumerate(part.rotation)}
    row |= {f"mirrored_{axis}": float(value) for axis, value in zip(("x", "z"), part.mirrored, strict=True)}
    row |= {"radial": float(part.radial)}
    for axis, count, spacing in zip(axes, part.repeats, part.spacing, strict=True):
        # copies stand at whole multiples of the spacing when they are odd in number, halfway between when even
        row |= {f"last_{axis}": (count - 1) / 2, f"half_{axis}": (count - 1) % 2 / 2, f"spacing_{axis}": spacing}
    row |= {f"elongation_{axis}": value for axis, value in zip(axes, part.elongation, strict=True)}
    row |= {f"radius_{axis}": value or 1.0 for axis, value in zip(axes, part.radii, strict=True)}
    row |= {f"waves_{axis}": value for axis, value in zip(axes, part.ripple_waves, strict=True)}
    row |= {"is_ellipsoid": float(part.radii[0] > 0), "square": part.square, "revolved": float(part.revolved)}
    row |= {"half_depth": part.half_depth, "rounding": part.rounding, "shell": part.shell, "ripple": part.ripple}
    row |= {"sign_all": sign_all, "sign_part": sign_part, "blend": max(part.blend, SHARPEST)}
    return row | {"material": float(part.material)}


def _edges(outline: Outline, corners: int) -> list[list[float]]:
    """The edges of a closed outline, padded with edges of no length."""
    points = [*outline, *[outline[-1]] * (corners - len(outline))]
    edges = []
    for (x, y), (next_x, next_y) in zip(points, [*points[1:], points[0]], strict=True):
        along_x, along_y = next_x - x, next_y - y
        squared = max(along_x**2 + along_y**2, 1e-12)
        edges.append([x, y, along_x, along_y, along_x / squared, along_y / squared])
    return edges


def _features(part: Part) -> set[str]:
    """What evaluating a part takes beyond the least."""
    is_ellipsoid = part.radii[0] > 0
    needed = {
        "mirror": any(part.mirrored),
        "radial": part.radial > 1,
        "repeat": any(count > 1 for count in part.repeats),
        "rotate": tuple(part.rotation) != IDENTITY,
        "elongate": any(part.elongation),
        "ellipsoid": is_ellipsoid,
        "outline": not is_ellipsoid,
        "revolve": not is_ellipsoid and part.revolved,
        "extrude": not is_ellipsoid and not part.revolved,
        "square": part.square > 0,
        "shell": part.shell > 0,
        "ripple": part.ripple > 0,
    }
    return {name for name, value in needed.items() if value}
