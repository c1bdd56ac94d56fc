"""Floor plans: two to five rooms that share walls, doors between them, and windows to the outside."""

from dataclasses import dataclass, field

from .draw import EndlessDraw


# Half of a wall between two rooms, in metres; each room has its own half with its own paper.
HALF_WALL = 0.06
SHORTEST_SIDE = 2.3
SMALLEST_CONTACT = 1.15


@dataclass(frozen=True)
class Opening:
    """A hole in a wall, along it from `start` to `end` (world coordinates) and from `bottom` to `top`."""

    start: float
    end: float
    bottom: float
    top: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass
class Room:
    """An axis-aligned room; the bounds are the middle planes of its walls.

    Args:
        low: (x, z) of its corner.
        high: (x, z) of the opposite corner.
        doors: per side (-x, +x, -z, +z), the openings to other rooms.
        windows: per side, the openings to the outside.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    doors: dict[int, list[Opening]] = field(default_factory=lambda: {side: [] for side in range(4)})
    windows: dict[int, list[Opening]] = field(default_factory=lambda: {side: [] for side in range(4)})

    def inside(self, axis: int) -> tuple[float, float]:
        """Bounds of the floor along x (0) or z (1)."""
        return self.low[axis] + HALF_WALL, self.high[axis] - HALF_WALL

    @property
    def area(self) -> float:
        return (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])


@dataclass(frozen=True)
class Plan:
    """Rooms of one height in metres that fill a rectangle."""

    rooms: list[Room]
    height: float

    @property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(low, high) corners of the rectangle in x and z."""
        lows, highs = zip(*((room.low, room.high) for room in self.rooms), strict=True)
        return tuple(map(min, zip(*lows, strict=True))), tuple(map(max, zip(*highs, strict=True)))


def random_plan(draw: EndlessDraw) -> Plan:
    """A plan whose rooms are all reached through doors."""
    count = draw.pick([2, 3, 3, 4, 4, 5])
    height = draw.between(2.4, 3.0)
    while True:
        rooms = split_rooms(draw, count)
        if connect(draw, rooms, height):
            break
    plan = Plan(rooms, height)
    for room in rooms:
        add_windows(draw, plan, room)
    return plan


def split_rooms(draw: EndlessDraw, count: int) -> list[Room]:
    """Split a rectangle around the origin again and again, always the largest room across its longer side."""
    area = count * draw.between(10, 18)
    aspect = draw.between(1.0, 1.6)
    width, depth = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    if draw.chance(0.5):
        width, depth = depth, width
    rooms = [Room((-width / 2, -depth / 2), (width / 2, depth / 2))]
    while len(rooms) < count:
        room = max(rooms, key=lambda room: room.area)
        sides = [room.high[axis] - room.low[axis] for axis in range(2)]
        axis = 0 if sides[0] > sides[1] else 1
        cut = room.low[axis] + sides[axis] * draw.between(0.38, 0.62)
        cut = min(max(cut, room.low[axis] + SHORTEST_SIDE), room.high[axis] - SHORTEST_SIDE)
        high, low = list(room.high), list(room.low)
        high[axis] = low[axis] = cut
        rooms.remove(room)
        rooms += [Room(room.low, tuple(high)), Room(tuple(low), room.high)]
    return rooms


def contacts(rooms: list[Room]) -> list[tuple[int, int, int, float, float]]:
    """Shared walls: (axis across the wall, room before it, room behind it, start and end along it)."""
    found = []
    for axis in range(2):
        for a, first in enumerate(rooms):
            for b, second in enumerate(rooms):
                if abs(first.high[axis] - second.low[axis]) < 1e-6:
                    start = max(first.low[1 - axis], second.low[1 - axis])
                    end = min(first.high[1 - axis], second.high[1 - axis])
                    if end - start > SMALLEST_CONTACT:
                        found.append((axis, a, b, start, end))
    return found


def connect(draw: EndlessDraw, rooms: list[Room], height: float) -> bool:
    """Open doors until all rooms are connected, and some more; whether that was possible."""
    group = list(range(len(rooms)))
    for axis, a, b, start, end in draw.shuffled(contacts(rooms)):
        needed = group[a] != group[b]
        if not needed and draw.chance(0.6):
            continue
        group = [group[a] if g == group[b] else g for g in group]
        length = end - start
        wide = length > 2.4 and draw.chance(0.35)
        width = draw.between(1.3, min(2.4, length - 0.5)) if wide else draw.between(0.8, 0.95)
        middle = draw.between(start + width / 2 + 0.1, end - width / 2 - 0.1)
        top = min(draw.between(2.0, 2.12) + 0.2 * wide, height - 0.12)
        door = Opening(middle - width / 2, middle + width / 2, 0.0, top)
        rooms[a].doors[2 * axis + 1].append(door)
        rooms[b].doors[2 * axis].append(door)
    return len(set(group)) == 1


def add_windows(draw: EndlessDraw, plan: Plan, room: Room) -> None:
    """Up to one window on each outer wall of a room, and at least one on one of them."""
    low, high = plan.bounds
    outer = [
        side
        for side in range(4)
        if abs((room.low, room.high)[side % 2][side // 2] - (low, high)[side % 2][side // 2]) < 1e-6
    ]
    for number, side in enumerate(draw.shuffled(outer)):
        if number > 0 and draw.chance(0.6):
            continue
        start, end = room.inside(1 - side // 2)
        width = draw.between(0.8, min(2.4, end - start - 0.7))
        middle = draw.between(start + width / 2 + 0.3, end - width / 2 - 0.3)
        top = draw.between(2.0, plan.height - 0.18)
        bottom = draw.pick([0.08, draw.between(0.35, 0.6), draw.between(0.75, 1.0), draw.between(0.75, 1.0)])
        room.windows[side].append(Opening(middle - width / 2, middle + width / 2, bottom, top))
