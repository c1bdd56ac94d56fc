"""The solids of an apartment while it is built: boxes, ellipsoids and upright cylinders with their materials."""

import math
from dataclasses import dataclass, field

from .materials import Material


@dataclass(frozen=True)
class Place:
    """A spot on the floor of a room: local x to the right, z out of the wall, turned by `yaw` about +Y.

    Args:
        room: index of the room.
        x, y, z: position in metres.
        yaw: radians.
    """

    room: int
    x: float
    y: float
    z: float
    yaw: float

    def point(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """World position of local coordinates."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + cosine * x + sine * z, self.y + y, self.z - sine * x + cosine * z

    def at(self, x: float, y: float, z: float, turn: float = 0.0) -> "Place":
        """A place in the frame of this one."""
        return Place(self.room, *self.point(x, y, z), self.yaw + turn)


@dataclass(frozen=True)
class Part:
    """One solid.

    Args:
        center: in metres.
        size: half extents along its own axes.
        yaw: turn about +Y in radians.
        room: index of the room whose lamps light it.
        materials: of the six faces -x, +x, -y, +y, -z, +z of a box; of the side and the caps of a cylinder; or one.
        casts: whether it stops light.
        anchored: whether textures start at its centre, rather than at the origin of the world.
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float
    room: int
    materials: tuple[Material, ...]
    casts: bool = True
    anchored: bool = True


@dataclass
class Parts:
    """All solids of one apartment; `shell` holds the boxes of walls, floors and ceilings."""

    shell: list[Part] = field(default_factory=list)
    boxes: list[Part] = field(default_factory=list)
    balls: list[Part] = field(default_factory=list)
    cylinders: list[Part] = field(default_factory=list)

    def box(self, place: Place, center, size, *materials: Material, turn: float = 0.0, casts: bool = True) -> None:
        """Add a box of the given full size at a local centre; one material, or six by face."""
        half = tuple(max(s, 1e-3) / 2 for s in size)
        faces = materials * 6 if len(materials) == 1 else materials
        self.boxes.append(Part(place.point(*center), half, place.yaw + turn, place.room, faces, casts))

    def ball(self, place: Place, center, size, material: Material, casts: bool = True) -> None:
        """Add an ellipsoid of the given full size at a local centre."""
        half = tuple(max(s, 1e-3) / 2 for s in size)
        self.balls.append(Part(place.point(*center), half, place.yaw, place.room, (material,), casts))

    def cylinder(self, place: Place, center, diameter, height, *materials: Material, casts: bool = True) -> None:
        """Add an upright cylinder at a local centre; one material, or those of its side and caps."""
        half = (diameter / 2, max(height, 1e-3) / 2, diameter / 2)
        faces = materials * 2 if len(materials) == 1 else materials
        self.cylinders.append(Part(place.point(*center), half, place.yaw, place.room, faces, casts))
