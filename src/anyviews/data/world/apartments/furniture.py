"""Pieces of furniture built of several solids, each around a place at its back in the middle, facing local +z."""

from ..lighting.draw import Draw
from .materials import fabric, glow, leaf, metal, paint, plastic, poster, stone, wood
from .parts import Parts, Place


def table(draw: Draw, parts: Parts, place: Place, width: float, depth: float, height: float | None = None) -> float:
    """A table with four legs or a pedestal; its height."""
    height = height or draw.between(0.7, 0.78)
    top, leg = draw.pick([wood, wood, paint, stone])(draw), draw.pick([wood, metal, paint])(draw)
    thick, width_of_leg = draw.between(0.02, 0.05), draw.between(0.03, 0.08)
    parts.box(place, (0, height - thick / 2, depth / 2), (width, thick, depth), top)
    round_leg = draw.chance(0.4)
    inset = width_of_leg / 2 + draw.between(0.0, 0.06)
    for x in (-width / 2 + inset, width / 2 - inset):
        for z in (inset, depth - inset):
            if round_leg:
                parts.cylinder(place, (x, (height - thick) / 2, z), width_of_leg, height - thick, leg)
            else:
                parts.box(place, (x, (height - thick) / 2, z), (width_of_leg, height - thick, width_of_leg), leg)
    return height


def round_table(draw: Draw, parts: Parts, place: Place, diameter: float, height: float) -> float:
    """A round top on one leg; its height."""
    top, leg = draw.pick([wood, paint, stone])(draw), draw.pick([metal, wood])(draw)
    z = diameter / 2
    parts.cylinder(place, (0, height - 0.015, z), diameter, 0.03, top)
    parts.cylinder(place, (0, height / 2, z), 0.07, height - 0.03, leg)
    parts.cylinder(place, (0, 0.015, z), diameter * 0.5, 0.03, leg)
    return height


def chair(draw: Draw, parts: Parts, place: Place, style: int) -> None:
    """A chair whose back is at the place; chairs of one style and one state of `draw` are alike."""
    frame = draw.pick([wood, metal, paint])(draw)
    cover = fabric(draw) if draw.chance(0.6) else frame
    width, depth, seat = 0.42, 0.43, 0.45
    parts.box(place, (0, seat - 0.02, depth / 2), (width, 0.05, depth), cover)
    for x in (-width / 2 + 0.025, width / 2 - 0.025):
        for z in (0.025, depth - 0.025):
            parts.box(place, (x, seat / 2 - 0.02, z), (0.035, seat - 0.04, 0.035), frame)
        if style == 0:
            parts.box(place, (x, seat + 0.2, 0.02), (0.035, 0.45, 0.03), frame)
    if style == 0:
        for height in (0.2, 0.31, 0.41):
            parts.box(place, (0, seat + height, 0.02), (width, 0.055, 0.018), frame)
    else:
        parts.box(place, (0, seat + 0.24, 0.02), (width, 0.42, 0.03), cover)


def bookshelf(draw: Draw, parts: Parts, place: Place, width: float, depth: float, height: float) -> None:
    """Boards with books and things on them."""
    board = draw.pick([wood, paint])(draw)
    back = board if draw.chance(0.5) else paint(draw)
    thick = 0.022
    for x in (-width / 2 + thick / 2, width / 2 - thick / 2):
        parts.box(place, (x, height / 2, depth / 2), (thick, height, depth), board)
    parts.box(place, (0, height / 2, 0.008), (width - 2 * thick, height, 0.012), back)
    shelves = max(2, round(height / draw.between(0.32, 0.45)))
    step = (height - thick) / shelves
    for shelf in range(shelves + 1):
        level = thick / 2 + shelf * step
        parts.box(place, (0, level, depth / 2), (width - 2 * thick, thick, depth - 0.004), board)
        if shelf < shelves:
            fill_shelf(
                draw, parts, place.at(0, level + thick / 2, 0.02), width - 2 * thick, depth - 0.03, step - thick
            )


def fill_shelf(draw: Draw, parts: Parts, place: Place, width: float, depth: float, room: float) -> None:
    """A row of books and other things, from left to right."""
    x = -width / 2 + 0.01
    while x < width / 2 - 0.08:
        kind = draw.unit()
        if kind < 0.62:
            # a block of volumes of one series, then the next
            thick, tall = draw.between(0.025, 0.06), draw.between(0.55, 0.9) * room
            binding = plastic(draw) if draw.chance(0.5) else fabric(draw)
            for _ in range(draw.pick([1, 2, 3])):
                if x + thick > width / 2:
                    break
                deep = draw.between(0.6, 0.9) * depth
                parts.box(place, (x + thick / 2, tall / 2, deep / 2), (thick * 0.94, tall, deep), binding, casts=False)
                x += thick
        elif kind < 0.75:
            thing_on_top(draw, parts, place.at(x + 0.08, 0, depth / 2), min(0.14, room * 0.8))
            x += 0.17
        else:
            x += draw.between(0.05, 0.25)


def thing_on_top(draw: Draw, parts: Parts, place: Place, size: float) -> None:
    """A vase, a bowl, a box, a stack of books or a potted plant of about the given size, standing at a place."""
    kind = draw.pick(["vase", "box", "stack", "plant", "cup", "ball"])
    if kind == "vase":
        glaze = draw.pick([plastic, stone, metal])(draw)
        parts.ball(place, (0, size * 0.4, 0), (size * 0.7, size * 0.8, size * 0.7), glaze)
        parts.cylinder(place, (0, size * 0.85, 0), size * 0.25, size * 0.3, glaze)
    elif kind == "box":
        parts.box(place, (0, size * 0.3, 0), (size, size * 0.6, size * 0.7), draw.pick([wood, paint, fabric])(draw))
    elif kind == "stack":
        y = 0.0
        for _ in range(draw.pick([2, 3, 4])):
            thick = size * draw.between(0.12, 0.25)
            turn = draw.between(-0.3, 0.3)
            parts.box(place, (0, y + thick / 2, 0), (size * 0.8, thick * 0.96, size), plastic(draw), turn=turn)
            y += thick
    elif kind == "plant":
        parts.cylinder(place, (0, size * 0.22, 0), size * 0.5, size * 0.44, paint(draw))
        parts.ball(place, (0, size * 0.75, 0), (size * 0.9, size * 0.75, size * 0.9), leaf(draw))
    elif kind == "cup":
        parts.cylinder(place, (0, size * 0.3, 0), size * 0.5, size * 0.6, plastic(draw), plastic(draw))
    else:
        parts.ball(place, (0, size * 0.35, 0), (size * 0.7,) * 3, draw.pick([metal, plastic])(draw))


def wardrobe(draw: Draw, parts: Parts, place: Place, width: float, depth: float, height: float) -> None:
    """A cupboard with doors and handles on a plinth."""
    body = draw.pick([wood, paint])(draw)
    front = body if draw.chance(0.5) else draw.pick([wood, paint, plastic])(draw)
    handle = metal(draw)
    parts.box(place, (0, 0.03, depth / 2 - 0.02), (width - 0.04, 0.06, depth - 0.06), body)
    parts.box(place, (0, 0.06 + (height - 0.06) / 2, depth / 2 - 0.01), (width, height - 0.06, depth - 0.02), body)
    columns = max(1, round(width / 0.5))
    rows = draw.pick([1, 1, 2]) if height > 1.2 else draw.pick([1, 3, 4])
    wide, tall = width / columns, (height - 0.08) / rows
    for column in range(columns):
        for row in range(rows):
            x, y = (column + 0.5) * wide - width / 2, 0.07 + (row + 0.5) * tall
            parts.box(place, (x, y, depth - 0.01), (wide - 0.008, tall - 0.008, 0.02), front)
            grip = (0.015, min(0.16, tall * 0.5), 0.02) if rows < 3 else (0.12, 0.015, 0.02)
            side = wide * 0.4 * (1 if column % 2 == 0 else -1) * (rows < 3)
            parts.box(place, (x + side, y, depth + 0.012), grip, handle, casts=False)


def bed(draw: Draw, parts: Parts, place: Place, width: float, length: float) -> None:
    """A frame with a headboard, a mattress, a blanket and pillows."""
    frame, sheet, blanket = wood(draw), paint(draw, (0.0, 0.2), (0.8, 0.98), (0.9, 1.0)), fabric(draw)
    low = draw.between(0.22, 0.32)
    parts.box(place, (0, draw.between(0.4, 0.55), 0.03), (width + 0.06, draw.between(0.8, 1.1), 0.05), frame)
    parts.box(place, (0, low / 2 + 0.06, length / 2), (width + 0.04, low - 0.1, length), frame)
    for x in (-width / 2, width / 2):
        parts.box(place, (x, 0.06, length - 0.04), (0.06, 0.12, 0.06), frame)
    parts.box(place, (0, low + 0.09, length / 2 + 0.02), (width, 0.18, length - 0.06), sheet)
    cover = draw.between(0.6, 0.75) * length
    parts.box(place, (0, low + 0.1, length - cover / 2), (width + 0.05, 0.2, cover), blanket)
    pillows = 2 if width > 1.2 else 1
    cushion = fabric(draw) if draw.chance(0.5) else sheet
    for number in range(pillows):
        x = (number - (pillows - 1) / 2) * width * 0.47
        parts.ball(place, (x, low + 0.23, 0.28), (min(0.62, width * 0.45), 0.16, 0.4), cushion)


def sofa(draw: Draw, parts: Parts, place: Place, width: float, depth: float) -> None:
    """A base, seats, a back, arms and cushions."""
    cover, foot = fabric(draw), draw.pick([wood, metal])(draw)
    seat, arm = draw.between(0.38, 0.44), draw.between(0.12, 0.2)
    parts.box(place, (0, seat / 2, depth / 2), (width, seat - 0.16, depth), cover)
    for x in (-width / 2 + 0.06, width / 2 - 0.06):
        for z in (0.06, depth - 0.06):
            parts.box(place, (x, 0.05, z), (0.05, 0.1, 0.05), foot)
    for x in (-(width - arm) / 2, (width - arm) / 2):
        parts.box(place, (x, 0.37, depth / 2), (arm, 0.46, depth), cover)
    seats = max(1, round((width - 2 * arm) / 0.7))
    wide = (width - 2 * arm) / seats
    for number in range(seats):
        x = (number - (seats - 1) / 2) * wide
        parts.box(place, (x, seat, depth / 2 + 0.1), (wide - 0.015, 0.15, depth - 0.2), cover)
        parts.box(place, (x, seat + 0.27, 0.16), (wide - 0.015, 0.42, 0.16), cover)
    for _ in range(draw.pick([0, 1, 2])):
        x = draw.between(-0.35, 0.35) * width
        parts.ball(place, (x, seat + 0.24, 0.33), (0.42, 0.38, 0.16), fabric(draw))


def cabinet_row(draw: Draw, parts: Parts, place: Place, width: float) -> None:
    """A kitchen: base cupboards, worktop, sink or hob, wall cupboards and a splashback of things."""
    wardrobe(draw, parts, place, width, 0.58, 0.86)
    parts.box(place, (0, 0.88, 0.3), (width + 0.02, 0.04, 0.62), draw.pick([stone, wood, paint])(draw))
    steel, black = metal(draw), plastic(draw)
    x = draw.between(-0.3, 0.3) * (width - 0.6)
    parts.box(place, (x, 0.902, 0.3), (0.5, 0.008, 0.4), steel)
    parts.cylinder(place, (x, 1.02, 0.1), 0.03, 0.24, steel)
    parts.box(place, (x, 1.13, 0.18), (0.025, 0.025, 0.18), steel)
    for _ in range(draw.pick([1, 2, 3])):
        thing = place.at(draw.between(-0.45, 0.45) * width, 0.9, draw.between(0.15, 0.5))
        thing_on_top(draw, parts, thing, draw.between(0.12, 0.25))
    if draw.chance(0.7):
        upper = place.at(0, draw.between(1.4, 1.5), 0)
        wardrobe(draw, parts, upper, width, 0.34, 0.65)
    else:
        parts.box(place, (0, 1.5, 0.12), (width * 0.8, 0.03, 0.22), wood(draw))
        fill_shelf(draw, parts, place.at(0, 1.515, 0.02), width * 0.8, 0.18, 0.3)
    parts.box(place, (x, 0.908, 0.3), (0.4, 0.004, 0.3), black)


def fridge(draw: Draw, parts: Parts, place: Place, width: float, depth: float, height: float) -> None:
    """Two doors with handles."""
    skin = draw.pick([metal, plastic, paint])(draw)
    handle = metal(draw)
    split = height * draw.between(0.3, 0.65)
    parts.box(place, (0, height / 2, depth / 2 - 0.03), (width, height, depth - 0.06), skin)
    for low, high in ((0.03, split), (split, height)):
        parts.box(place, (0, (low + high) / 2, depth - 0.025), (width, high - low - 0.01, 0.05), skin)
        parts.box(place, (-width * 0.4, (low + high) / 2, depth + 0.02), (0.02, (high - low) * 0.5, 0.03), handle)


def screen(draw: Draw, parts: Parts, place: Place, width: float) -> None:
    """A television or monitor on a foot, sometimes switched on."""
    height = width * 0.58
    black = paint(draw, (0.0, 0.1), (0.05, 0.15), (0.1, 0.25))
    shown = poster(draw, width, height)
    parts.box(place, (0, 0.01, 0.1), (width * 0.3, 0.02, 0.16), black)
    parts.box(place, (0, 0.06, 0.08), (0.05, 0.1, 0.03), black)
    front = (black, black, black, black, black, shown if draw.chance(0.4) else black)
    parts.box(place, (0, 0.09 + height / 2, 0.1), (width, height, 0.03), *front)


def floor_lamp(draw: Draw, parts: Parts, place: Place) -> tuple[float, float, float]:
    """A stand with a glowing shade; where its light comes from."""
    stand, height = metal(draw), draw.between(1.35, 1.75)
    shade = draw.between(0.25, 0.42)
    parts.cylinder(place, (0, 0.015, 0.2), 0.28, 0.03, stand)
    parts.cylinder(place, (0, height / 2, 0.2), 0.025, height, stand)
    glowing = glow(draw, draw.between(1.5, 5))
    if draw.chance(0.5):
        parts.cylinder(place, (0, height, 0.2), shade, 0.26, glowing, casts=False)
    else:
        parts.ball(place, (0, height, 0.2), (shade, shade * 0.9, shade), glowing, casts=False)
    return place.point(0, height, 0.2)


def plant(draw: Draw, parts: Parts, place: Place) -> None:
    """A pot with a stem and several bushes of leaves."""
    pot, green, stem = draw.pick([paint, stone, plastic])(draw), leaf(draw), wood(draw)
    wide, tall = draw.between(0.24, 0.36), draw.between(0.7, 1.6)
    parts.cylinder(place, (0, wide / 2, 0.22), wide, wide, pot, stem)
    parts.cylinder(place, (0, wide + (tall - wide) / 2, 0.22), 0.03, tall - wide, stem)
    for _ in range(draw.pick([3, 4, 5, 6])):
        x, y, z = draw.between(-0.16, 0.16), draw.between(0.65, 1.05) * tall, 0.22 + draw.between(-0.14, 0.14)
        size = draw.between(0.16, 0.34)
        parts.ball(place, (x, y, z), (size, size * draw.between(0.5, 1.0), size), green)


def crates(draw: Draw, parts: Parts, place: Place) -> None:
    """A small stack of boxes with labels, not quite aligned."""
    y = 0.0
    for _ in range(draw.pick([1, 2, 3])):
        width, height, depth = draw.between(0.35, 0.5), draw.between(0.18, 0.32), draw.between(0.28, 0.38)
        board, label = draw.pick([wood, paint, fabric])(draw), poster(draw, width, height)
        faces = (board, board, board, board, board, label if draw.chance(0.6) else board)
        turn = draw.between(-0.2, 0.2)
        parts.box(place, (0, y + height / 2, 0.22), (width, height * 0.98, depth), *faces, turn=turn)
        y += height


def picture(draw: Draw, parts: Parts, place: Place, width: float, height: float, middle: float) -> None:
    """A framed poster on a wall."""
    frame = draw.pick([wood, metal, paint])(draw)
    shown, bar = poster(draw, width, height), draw.between(0.012, 0.04)
    parts.box(place, (0, middle, 0.01), (width, height, 0.014), frame, frame, frame, frame, frame, shown, casts=False)
    for sign in (-1, 1):
        x, y = sign * (width + bar) / 2, middle + sign * (height + bar) / 2
        parts.box(place, (x, middle, 0.014), (bar, height + 2 * bar, 0.026), frame, casts=False)
        parts.box(place, (0, y, 0.014), (width + 2 * bar, bar, 0.026), frame, casts=False)
