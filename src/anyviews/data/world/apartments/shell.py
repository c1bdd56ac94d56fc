"""Walls with their openings, floors, ceilings, skirting, door casings and window frames."""

from ..lighting.draw import Draw
from .materials import (
    Material,
    bricks,
    carpet,
    fabric,
    metal,
    paint,
    planks,
    stone,
    tiles,
    wallpaper,
    wood,
)
from .parts import Part, Parts, Place
from .plan import HALF_WALL, Opening, Plan, Room


OUTER_WALL = 0.22
SLAB = 0.1
# so far beyond the floor that no gap opens at a wall
OVERLAP = 0.02


def build_shell(draw: Draw, plan: Plan, parts: Parts) -> None:
    """Everything that stands before furniture comes in."""
    trim = paint(draw, (0.0, 0.1), (0.75, 0.98), (0.25, 0.5))
    if draw.chance(0.3):
        trim = wood(draw)
    common_floor = draw.pick([planks, planks, tiles])(draw)
    for index in range(len(plan.rooms)):
        floor = common_floor if draw.chance(0.4) else draw.pick([planks, tiles, tiles, carpet, stone])(draw)
        ceiling = paint(draw, (0.0, 0.08), (0.85, 0.99), (0.8, 1.0))
        slab(parts, plan, index, -SLAB, 0.0, floor)
        slab(parts, plan, index, plan.height, plan.height + SLAB, ceiling)
        common_paper = draw.pick([paint, paint, wallpaper])(draw)
        for side in range(4):
            special = draw.chance(0.25)
            paper = draw.pick([bricks, wallpaper, paint, tiles])(draw) if special else common_paper
            build_wall(draw, plan, parts, index, side, paper, trim)


def slab(parts: Parts, plan: Plan, index: int, bottom: float, top: float, material: Material) -> None:
    """A floor or ceiling; neighbouring ones meet below the middle of the doors."""
    room = plan.rooms[index]
    low, high = plan.bounds
    # outside they reach as far as the wall
    x0, x1, z0, z1 = (
        bound[axis] + sign * (OUTER_WALL if abs(bound[axis] - edge[axis]) < 1e-6 else 0.0)
        for axis in range(2)
        for bound, edge, sign in ((room.low, low, -1), (room.high, high, 1))
    )
    center = ((x0 + x1) / 2, (bottom + top) / 2, (z0 + z1) / 2)
    size = ((x1 - x0) / 2, (top - bottom) / 2, (z1 - z0) / 2)
    parts.shell.append(Part(center, size, 0.0, index, (material,) * 6, casts=False, anchored=False))


def build_wall(draw: Draw, plan: Plan, parts: Parts, index: int, side: int, paper: Material, trim: Material) -> None:
    """One room's half of a wall, with what frames its openings."""
    room = plan.rooms[index]
    axis = side // 2
    low, high = plan.bounds
    outside = abs((room.low, room.high)[side % 2][axis] - (low, high)[side % 2][axis]) < 1e-6
    thickness = HALF_WALL + (OUTER_WALL if outside else 0.0)
    start, end = room.low[1 - axis], room.high[1 - axis]
    here = start
    for hole in sorted(room.doors[side] + room.windows[side], key=lambda hole: hole.start):
        panel(parts, plan, index, side, thickness, (here, hole.start, 0.0, plan.height), paper)
        panel(parts, plan, index, side, thickness, (hole.start, hole.end, hole.top, plan.height), paper)
        panel(parts, plan, index, side, thickness, (hole.start, hole.end, 0.0, hole.bottom), paper)
        skirting(parts, room, index, side, here, hole.start, trim)
        here = hole.end
        if hole.bottom > 0:
            skirting(parts, room, index, side, hole.start, hole.end, trim)
            window_frame(draw, parts, room, index, side, hole, trim)
        else:
            casing(parts, room, index, side, hole, trim)
    panel(parts, plan, index, side, thickness, (here, end, 0.0, plan.height), paper)
    skirting(parts, room, index, side, here, end, trim)


def panel(
    parts: Parts,
    plan: Plan,
    index: int,
    side: int,
    thickness: float,
    extent: tuple[float, float, float, float],
    paper: Material,
) -> None:
    """A part (start, end, bottom, top) of a wall, which extends outwards from the inner face."""
    start, end, bottom, top = extent
    if end - start < 1e-3 or top - bottom < 1e-3:
        return
    axis = side // 2
    outwards = 1 if side % 2 else -1
    inner = plan.rooms[index].inside(axis)[side % 2]
    center, half = [0.0, (bottom + top) / 2, 0.0], [0.0, (top - bottom) / 2, 0.0]
    center[2 * axis], half[2 * axis] = inner + outwards * thickness / 2, thickness / 2
    along = 2 - 2 * axis
    center[along], half[along] = (start + end) / 2, (end - start) / 2
    parts.shell.append(Part(tuple(center), tuple(half), 0.0, index, (paper,) * 6, casts=False, anchored=False))


def wall_place(room: Room, index: int, side: int, along: float) -> Place:
    """The place on the floor at a wall, looking out of it, at a world coordinate along the wall."""
    axis = side // 2
    inner = room.inside(axis)[side % 2]
    x, z = (inner, along) if axis == 0 else (along, inner)
    # z of the place points into the room: +x at the wall -x, -x at +x, +z at -z, -z at +z
    yaw = (0.5, -0.5, 0.0, 1.0)[side] * 3.141592653589793
    return Place(index, x, 0.0, z, yaw)


def skirting(parts: Parts, room: Room, index: int, side: int, start: float, end: float, trim: Material) -> None:
    """A board along the foot of a wall."""
    if end - start > 0.02:
        place = wall_place(room, index, side, (start + end) / 2)
        parts.box(place, (0, 0.04, 0.006), (end - start, 0.08, 0.012), trim, casts=False)


def casing(parts: Parts, room: Room, index: int, side: int, hole: Opening, trim: Material) -> None:
    """Boards around a door opening."""
    place = wall_place(room, index, side, hole.middle)
    width, board = hole.end - hole.start, 0.08
    for sign in (-1, 1):
        parts.box(place, (sign * (width + board) / 2, hole.top / 2, 0.012), (board, hole.top, 0.024), trim)
        parts.box(place, (sign * (width / 2 - 0.012), hole.top / 2, -0.02), (0.024, hole.top, 0.08), trim)
    parts.box(place, (0, hole.top + board / 2, 0.012), (width + 2 * board, board, 0.024), trim)
    parts.box(place, (0, hole.top - 0.012, -0.02), (width - 0.048, 0.024, 0.08), trim)


def window_frame(draw: Draw, parts: Parts, room: Room, index: int, side: int, hole: Opening, trim: Material) -> None:
    """The frame and bars of a window, its board, and sometimes curtains and a radiator."""
    place = wall_place(room, index, side, hole.middle)
    width, height = hole.end - hole.start, hole.top - hole.bottom
    middle, bar, depth = (hole.bottom + hole.top) / 2, 0.06, -0.14
    for sign in (-1, 1):
        parts.box(place, (sign * (width - bar) / 2, middle, depth), (bar, height, 0.06), trim, casts=False)
        parts.box(place, (0, middle + sign * (height - bar) / 2, depth), (width, bar, 0.06), trim, casts=False)
    for number in range(draw.pick([0, 1, 1, 2])):
        x = width * ((number + 1) / 2 - 0.5) if number == 0 else width / 4
        parts.box(place, (x, middle, depth), (0.045, height, 0.045), trim, casts=False)
    if draw.chance(0.3):
        parts.box(place, (0, hole.bottom + height * 0.68, depth), (width, 0.045, 0.045), trim, casts=False)
    parts.box(place, (0, hole.bottom - 0.015, 0.0), (width + 0.1, 0.03, 0.2), trim)
    if draw.chance(0.45):
        cloth, rod = fabric(draw), metal(draw)
        spread = draw.between(0.12, 0.3)
        for sign in (-1, 1):
            for fold in range(3):
                x = sign * (width / 2 + 0.08 - spread * (fold - 0.6) / 3)
                z = 0.06 + 0.02 * (fold % 2)
                parts.box(place, (x, (hole.top + 0.1) / 2, z), (spread / 3, hole.top + 0.06, 0.03), cloth, casts=False)
        parts.box(place, (0, hole.top + 0.14, 0.07), (width + 0.5, 0.025, 0.025), rod)
    if hole.bottom > 0.6 and draw.chance(0.6):
        white = paint(draw, (0.0, 0.05), (0.85, 0.97), (0.2, 0.4))
        fins = max(3, int(width * 0.8 / 0.09))
        for fin in range(fins):
            x = (fin - (fins - 1) / 2) * 0.09
            parts.box(place, (x, hole.bottom / 2, 0.07), (0.07, hole.bottom * 0.65, 0.08), white)
