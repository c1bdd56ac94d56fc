"""Which furniture stands where in each room, the pictures on its walls, and its lamps."""

from collections.abc import Callable
from dataclasses import dataclass, field

from . import furniture
from .draw import EndlessDraw
from .materials import carpet, glow, metal, paint, wood
from .parts import Parts, Place
from .plan import Plan, Room
from .shell import wall_place


TRIES = 14
DOOR_CLEARANCE = 0.8
WINDOW_CLEARANCE = 0.12
# what is higher than this would stand in front of a window or a picture
LOW = 0.95

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Lamp:
    """A light of a room.

    Args:
        room: index of the room that it lights.
        position: in metres.
        intensity: linear colour; radiance times area, or for point-like lamps the irradiance at one metre.
        size: radius in metres, for the softness of shadows.
        facing: unit direction of a window's light, or None for a lamp that shines everywhere.
    """

    room: int
    position: tuple[float, float, float]
    intensity: tuple[float, float, float]
    size: float
    facing: tuple[float, float, float] | None = None


@dataclass
class Furnishing:
    """One room while it is furnished."""

    draw: EndlessDraw
    parts: Parts
    room: Room
    index: int
    height: float
    taken: list[Rectangle] = field(default_factory=list)
    low_only: list[Rectangle] = field(default_factory=list)
    walls: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: {side: [] for side in range(4)})
    lamps: list[Lamp] = field(default_factory=list)

    def wall(self, width: float, depth: float, tall: float) -> Place | None:
        """A free place at a wall for something of that footprint and height, which is then taken."""
        for _ in range(TRIES):
            side = int(self.draw.between(0, 4))
            start, end = self.room.inside(1 - side // 2)
            if end - start < width + 0.04:
                continue
            # corners are popular
            share = self.draw.pick([0.0, 1.0, self.draw.unit(), self.draw.unit()])
            along = start + width / 2 + 0.02 + share * (end - start - width - 0.04)
            place = wall_place(self.room, self.index, side, along)
            box = footprint(place.at(0, 0, 0.02), width, depth)
            if self.free(box, tall):
                self.taken.append(box)
                if tall > LOW:
                    self.walls[side].append((along - width / 2, along + width / 2))
                return place.at(0, 0, 0.02)
        return None

    def middle(self, width: float, depth: float) -> Place | None:
        """A free place away from the walls; the place is at the back of the footprint, as at a wall."""
        for _ in range(TRIES):
            (x0, x1), (z0, z1) = self.room.inside(0), self.room.inside(1)
            x, z = self.draw.between(x0 + 0.5, x1 - 0.5), self.draw.between(z0 + 0.5, z1 - 0.5)
            place = Place(self.index, x, 0.0, z, self.draw.pick([0.0, 0.5]) * 3.141592653589793)
            place = place.at(0, 0, -depth / 2)
            box = footprint(place, width, depth)
            if self.free(box, 0.8):
                self.taken.append(box)
                return place
        return None

    def free(self, box: Rectangle, tall: float) -> bool:
        """Whether a rectangle lies in the room and touches nothing."""
        (x0, x1), (z0, z1) = self.room.inside(0), self.room.inside(1)
        if box[0] < x0 or box[1] < z0 or box[2] > x1 or box[3] > z1:
            return False
        blocked = self.taken + (self.low_only if tall > LOW else [])
        return not any(overlap(box, other) for other in blocked)


def overlap(a: Rectangle, b: Rectangle) -> bool:
    """Whether two rectangles (x0, z0, x1, z1) share area."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def footprint(place: Place, width: float, depth: float) -> Rectangle:
    """The rectangle of something that stands with the middle of its back at a place."""
    corners = [place.point(x, 0, z) for x in (-width / 2, width / 2) for z in (0, depth)]
    xs, zs = [c[0] for c in corners], [c[2] for c in corners]
    return min(xs), min(zs), max(xs), max(zs)


def furnish(draw: EndlessDraw, plan: Plan, parts: Parts, sky: tuple[float, float, float]) -> list[Lamp]:
    """Furnish all rooms; their lamps, of which windows under a sky of the given radiance are part."""
    kinds = draw.shuffled([living, bedroom, kitchen, study, dining])
    lamps = []
    for index, room in enumerate(plan.rooms):
        state = Furnishing(draw, parts, room, index, plan.height)
        for side in range(4):
            for hole in room.doors[side] + room.windows[side]:
                place = wall_place(room, index, side, hole.middle)
                width = hole.end - hole.start
                is_door = hole.bottom == 0
                clear = footprint(place, width + 0.1, DOOR_CLEARANCE if is_door else 0.3)
                (state.taken if is_door else state.low_only).append(clear)
                if not is_door:
                    state.taken.append(footprint(place, width, WINDOW_CLEARANCE))
                    area = width * (hole.top - hole.bottom)
                    facing = Place(0, 0, 0, 0, place.yaw).point(0, 0, 1)
                    center = place.point(0, (hole.bottom + hole.top) / 2, -0.05)
                    light = tuple(0.7 * area * c for c in sky)
                    state.lamps.append(Lamp(index, center, light, 0.4 * area**0.5, facing))
                state.walls[side].append((hole.start - 0.1, hole.end + 0.1))
        kinds[index % len(kinds)](state)
        decorate(state)
        hang_pictures(state)
        lamps += state.lamps
        if not state.lamps or draw.chance(0.8):
            lamps.append(ceiling_lamp(state))
    return lamps


def place_at_wall(
    state: Furnishing, piece: Callable, width: float, depth: float, tall: float, *options
) -> Place | None:
    """Build a piece at a wall where there is room; its place or None."""
    place = state.wall(width, depth, tall)
    if place is not None:
        piece(state.draw, state.parts, place, *options)
    return place


def living(state: Furnishing) -> None:
    """Sofa, low table on a carpet, television, shelves."""
    draw, parts = state.draw, state.parts
    width, depth = draw.between(1.5, 2.3), draw.between(0.8, 0.95)
    place = place_at_wall(state, furniture.sofa, width, depth, 0.85, width, depth)
    if place is not None:
        rug(state, place.at(0, 0, depth - 0.2), width * 0.95, 1.5)
        spot, size = place.at(0, 0, depth + 0.35), (draw.between(0.7, 1.1), draw.between(0.45, 0.6))
        if state.free(footprint(spot, *size), 0.4):
            state.taken.append(footprint(spot, *size))
            height = furniture.table(draw, parts, spot, *size, height=0.42)
            furniture.thing_on_top(draw, parts, spot.at(0.1, height, size[1] / 2), draw.between(0.1, 0.2))
    wide = draw.between(1.1, 1.8)
    place = place_at_wall(state, furniture.wardrobe, wide, 0.42, 0.5, wide, 0.42, 0.5)
    if place is not None:
        furniture.screen(draw, parts, place.at(0, 0.5, 0.05), draw.between(0.8, 1.1))
    shelves(state, draw.pick([1, 2]))


def bedroom(state: Furnishing) -> None:
    """Bed with bedside tables, wardrobe, drawers."""
    draw = state.draw
    width = draw.pick([0.9, 1.4, 1.6, 1.8])
    place = state.wall(width + 0.96, 2.05, LOW)
    sides = (-1, 1) if place is not None else ()
    place = place or state.wall(width + 0.1, 2.05, LOW)
    if place is not None:
        furniture.bed(draw, state.parts, place, width, 2.0)
        for side in sides:
            spot = place.at(side * (width / 2 + 0.26), 0, 0)
            furniture.wardrobe(draw, state.parts, spot, 0.4, 0.38, 0.46)
            furniture.thing_on_top(draw, state.parts, spot.at(0, 0.46, 0.2), draw.between(0.15, 0.25))
        rug(state, place.at(0, 0, 1.0), width + 0.9, 1.5)
    wide, height = draw.between(0.9, 1.9), draw.between(1.8, 2.1)
    place_at_wall(state, furniture.wardrobe, wide, 0.58, 2.1, wide, 0.56, height)
    drawers(state)
    if draw.chance(0.5):
        shelves(state, 1)


def kitchen(state: Furnishing) -> None:
    """A row of cupboards, a fridge, a table with chairs."""
    draw = state.draw
    place = None
    for width in (draw.between(2.2, 3.0), 1.8, 1.2):
        place = place or place_at_wall(state, furniture.cabinet_row, width, 0.62, 2.1, width)
    if draw.chance(0.8):
        height = draw.between(1.4, 2.0)
        place_at_wall(state, furniture.fridge, 0.64, 0.66, height, 0.6, 0.64, height)
    dining_table(state)
    if draw.chance(0.4):
        shelves(state, 1)


def study(state: Furnishing) -> None:
    """A desk with a monitor and a chair, shelves."""
    draw, parts = state.draw, state.parts
    width, depth = draw.between(1.1, 1.7), draw.between(0.6, 0.8)
    place = state.wall(width, depth + 0.6, LOW)
    if place is not None:
        height = furniture.table(draw, parts, place, width, depth)
        furniture.screen(draw, parts, place.at(draw.between(-0.1, 0.1), height, 0.04), draw.between(0.5, 0.7))
        for side in (-1, 1):
            spot = place.at(side * width * 0.38, height, draw.between(0.2, 0.45))
            furniture.thing_on_top(draw, parts, spot, draw.between(0.1, 0.25))
        furniture.chair(draw, parts, place.at(draw.between(-0.2, 0.2), 0, depth + 0.5, 3.14), draw.pick([0, 1]))
    shelves(state, 2)
    drawers(state)
    rug(state, Place(state.index, *center(state), 0.0), draw.between(1.2, 1.8), draw.between(1.0, 1.6))


def dining(state: Furnishing) -> None:
    """A table with chairs, a sideboard with things on it."""
    dining_table(state)
    drawers(state)
    drawers(state)
    shelves(state, 1)


def dining_table(state: Furnishing) -> None:
    """A table with two to six chairs where there is room for them."""
    draw, parts = state.draw, state.parts
    width, depth = draw.between(0.8, 1.7), draw.between(0.7, 0.95)
    margin = 0.5
    place = state.middle(width + 0.2, depth + 2 * margin)
    if place is None:
        return
    place = place.at(0, 0, margin)
    if draw.chance(0.3):
        rug(state, place.at(0, 0, -0.4), width + 0.8, depth + 0.8)
    if draw.chance(0.25):
        width = depth
        height = furniture.round_table(draw, parts, place, depth, 0.74)
    else:
        height = furniture.table(draw, parts, place, width, depth)
    style, alike = draw.pick([0, 1]), int(draw.between(0, 1e6))
    seats = max(1, int(width / 0.55))
    for number in range(seats):
        for side in (0, 1):
            if draw.chance(0.15):
                continue
            x = (number - (seats - 1) / 2) * 0.58
            push, turn = draw.between(-0.12, 0.15), draw.between(-0.25, 0.25)
            z = -0.3 - push if side == 0 else depth + 0.3 + push
            furniture.chair(EndlessDraw(alike), parts, place.at(x, 0, z, turn + 3.14159 * side), style)
    for _ in range(draw.pick([1, 2, 3])):
        spot = place.at(draw.between(-0.4, 0.4) * width, height, depth * draw.between(0.25, 0.75))
        furniture.thing_on_top(draw, parts, spot, draw.between(0.1, 0.28))


def shelves(state: Furnishing, count: int) -> None:
    """Bookshelves at the walls."""
    for _ in range(count):
        width, height = state.draw.between(0.6, 1.2), state.draw.between(0.8, 2.1)
        place_at_wall(state, furniture.bookshelf, width, 0.32, height, width, 0.3, height)


def drawers(state: Furnishing) -> None:
    """A low cupboard with things on top."""
    draw = state.draw
    width, height = draw.between(0.6, 1.4), draw.between(0.6, 0.9)
    place = place_at_wall(state, furniture.wardrobe, width, 0.45, height, width, 0.44, height)
    if place is not None:
        for _ in range(draw.pick([1, 2, 3])):
            spot = place.at(draw.between(-0.42, 0.42) * width, height, 0.22)
            furniture.thing_on_top(draw, state.parts, spot, draw.between(0.14, 0.35))


def decorate(state: Furnishing) -> None:
    """Armchairs, small tables, crates, plants and floor lamps."""
    draw = state.draw
    for _ in range(draw.pick([1, 2, 3, 4])):
        kind = draw.pick(["armchair", "table", "crates", "chair"])
        if kind == "armchair":
            place_at_wall(state, furniture.sofa, 0.95, 0.85, 0.85, 0.9, 0.85)
        elif kind == "crates":
            place_at_wall(state, furniture.crates, 0.6, 0.45, 0.8)
        elif kind == "chair":
            place_at_wall(state, furniture.chair, 0.46, 0.5, 0.9, draw.pick([0, 1]))
        elif (place := state.wall(0.55, 0.5, 0.8)) is not None:
            height = furniture.table(draw, state.parts, place, 0.5, 0.45, draw.between(0.45, 0.7))
            furniture.thing_on_top(draw, state.parts, place.at(0, height, 0.22), draw.between(0.15, 0.35))
    if draw.chance(0.5):
        place_at_wall(state, furniture.plant, 0.5, 0.48, 1.5)
    if draw.chance(0.5) and (place := state.wall(0.44, 0.44, 1.7)) is not None:
        position = furniture.floor_lamp(draw, state.parts, place)
        strength = draw.between(0.8, 2.0)
        light = tuple(strength * c for c in (1.0, draw.between(0.75, 0.9), draw.between(0.5, 0.75)))
        state.lamps.append(Lamp(state.index, position, light, 0.15))


def hang_pictures(state: Furnishing) -> None:
    """Posters where walls are free."""
    draw = state.draw
    for side in range(4):
        start, end = state.room.inside(1 - side // 2)
        for _ in range(draw.pick([1, 2, 3, 4])):
            width, height = draw.log_between(0.25, 1.1), draw.log_between(0.3, 0.9)
            along = draw.between(start + width / 2, max(start + width / 2, end - width / 2))
            span = (along - width / 2 - 0.08, along + width / 2 + 0.08)
            if span[1] > end or span[0] < start or any(span[0] < b and a < span[1] for a, b in state.walls[side]):
                continue
            state.walls[side].append(span)
            place = wall_place(state.room, state.index, side, along)
            furniture.picture(draw, state.parts, place, width, height, draw.between(1.45, 1.7))


def center(state: Furnishing) -> tuple[float, float, float]:
    """The middle of the floor."""
    (x0, x1), (z0, z1) = state.room.inside(0), state.room.inside(1)
    return (x0 + x1) / 2, 0.0, (z0 + z1) / 2


def rug(state: Furnishing, place: Place, width: float, depth: float) -> None:
    """A carpet under what stands there, cut off at the walls of the room."""
    if state.draw.chance(0.35):
        return
    x0, z0, x1, z1 = footprint(place, width, depth)
    (left, right), (back, front) = state.room.inside(0), state.room.inside(1)
    x0, x1, z0, z1 = max(x0, left + 0.1), min(x1, right - 0.1), max(z0, back + 0.1), min(z1, front - 0.1)
    middle = Place(state.index, (x0 + x1) / 2, 0.0, (z0 + z1) / 2, 0.0)
    # heights differ a little, so that two rugs never share a plane
    thick = state.draw.between(0.008, 0.02)
    state.parts.box(middle, (0, thick / 2, 0), (x1 - x0, thick, z1 - z0), carpet(state.draw), casts=False)


def ceiling_lamp(state: Furnishing) -> Lamp:
    """A disc below the ceiling, a pendant or a row of spots, near the middle of the room."""
    draw, parts, height = state.draw, state.parts, state.height
    x, _, z = center(state)
    place = Place(state.index, x + draw.between(-0.4, 0.4), 0.0, z + draw.between(-0.4, 0.4), 0.0)
    warm = draw.between(0.0, 1.0)
    strength = draw.log_between(1.5, 4.5) * (state.room.area / 12) ** 0.5
    light = (strength, strength * (1 - 0.2 * warm), strength * (1 - 0.45 * warm))
    glowing = glow(draw, draw.between(3, 12))
    kind, drop = draw.unit(), 0.12
    if kind < 0.4:
        parts.cylinder(place, (0, height - 0.04, 0), draw.between(0.3, 0.6), 0.08, glowing, casts=False)
    elif kind < 0.75:
        drop = draw.between(0.4, 0.65)
        shade = draw.between(0.25, 0.5)
        parts.cylinder(place, (0, height - drop / 2, 0), 0.012, drop, metal(draw), casts=False)
        if draw.chance(0.5):
            parts.ball(place, (0, height - drop, 0), (shade,) * 3, glowing, casts=False)
        else:
            parts.cylinder(place, (0, height - drop, 0), shade, 0.2, paint(draw), glowing, casts=False)
    else:
        bar = draw.pick([wood, metal])(draw)
        parts.box(place, (0, height - 0.02, 0), (1.1, 0.04, 0.08), bar, casts=False)
        for number in range(4):
            parts.cylinder(place, (number * 0.32 - 0.48, height - 0.09, 0), 0.07, 0.1, bar, glowing, casts=False)
    return Lamp(state.index, place.point(0, height - drop - 0.05, 0), light, 0.12)
