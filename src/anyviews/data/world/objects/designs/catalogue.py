"""All kinds of objects there are."""

from collections.abc import Callable
from dataclasses import dataclass

from ...lighting.draw import Draw
from ..materials import Material
from ..parts import Part
from . import buildings, creatures, household, sculptures, vehicles
from .palette import Palette


@dataclass(frozen=True)
class Design:
    """One object.

    Args:
        kind: what it is.
        parts: in the order in which they are joined.
        materials: which the parts name by index.
    """

    kind: str
    parts: list[Part]
    materials: list[Material]


Recipe = Callable[[Draw, Palette], tuple[list[Part], list[Material]]]

RECIPES: dict[str, Recipe] = {
    "vessel": household.vessel,
    "chair": household.chair,
    "table": household.table,
    "appliance": household.appliance,
    "lamp": household.lamp,
    "package": household.package,
    "clock": household.clock,
    "tool": household.tool,
    "car": vehicles.car,
    "rocket": vehicles.rocket,
    "plane": vehicles.plane,
    "tower": buildings.tower,
    "house": buildings.house,
    "machine": buildings.machine,
    "robot": creatures.robot,
    "animal": creatures.animal,
    "food": creatures.food,
    "turned piece": sculptures.turned_piece,
    "totem": sculptures.totem,
    "emblem": sculptures.emblem,
    "carving": sculptures.carving,
}


def random_design(draw: Draw, kind: str | None = None) -> Design:
    """An object of a random kind, or of this one."""
    chosen = draw.pick(list(RECIPES))
    kind = kind or chosen
    palette = Palette(draw)
    parts, materials = RECIPES[kind](draw, palette)
    # makers leave their names in other places too
    for index in (1, 2, 3):
        if draw.chance(0.4) and materials[index].label is None:
            size = draw.log_between(0.05, 0.2)
            face = draw.integer(0, 5)
            materials[index] = palette.labelled(materials[index], face, (0.0, 0.0), (size, 0.5 * size))
    return Design(kind, parts, materials)
