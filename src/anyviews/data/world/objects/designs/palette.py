"""The materials of one object: a few that go together."""

import colorsys
import math
from dataclasses import replace

from ...lighting.draw import Draw
from ..materials import Material
from ..parts import Vector


# linear base colours of gold, copper, silver, iron, brass, titanium, aluminium, chromium
METALS: tuple[Vector, ...] = (
    (1.0, 0.71, 0.29), (0.95, 0.64, 0.54), (0.96, 0.95, 0.92), (0.56, 0.57, 0.58),
    (0.89, 0.79, 0.43), (0.54, 0.5, 0.45), (0.91, 0.92, 0.92), (0.55, 0.56, 0.55),
)  # fmt: skip
WOODS: tuple[Vector, ...] = ((0.36, 0.18, 0.07), (0.55, 0.34, 0.16), (0.17, 0.08, 0.035), (0.65, 0.5, 0.3))
STONES: tuple[Vector, ...] = ((0.45, 0.43, 0.4), (0.62, 0.58, 0.5), (0.25, 0.25, 0.27), (0.5, 0.25, 0.15))
PAINTED_PATTERNS = (
    "stripes", "checks", "tartan", "dots", "tiles", "panels", "scales", "blotches", "gradient", "waves",
    "text", "text",
)  # fmt: skip


def color(hue: float, saturation: float, value: float) -> Vector:
    """A linear colour from hue, saturation and value in [0, 1]."""
    return tuple(channel**2.2 for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


class Palette:
    """Draws materials in a few related colours.

    Args:
        draw: random numbers.
    """

    def __init__(self, draw: Draw):
        self.draw = draw
        self.hue = draw.unit()
        self.saturation = draw.pick((0.15, 0.5, 0.75, 0.9))
        # a neighbour, the opposite, or a third of the circle away
        self.second_hue = self.hue + draw.pick((0.08, -0.1, 0.5, 0.33, 0.42))

    def paint(self) -> Vector:
        """A colour of the object."""
        draw = self.draw
        if draw.chance(0.22):
            return color(self.hue, 0.06, draw.pick((0.12, 0.3, 0.85, 0.95)))
        hue = self.hue if draw.chance(0.6) else self.second_hue
        saturation = min(1.0, self.saturation * draw.between(0.7, 1.2))
        return color(hue + draw.between(-0.03, 0.03), saturation, draw.between(0.3, 0.98))

    def contrast(self, other: Vector) -> Vector:
        """A colour that stands out from another."""
        bright = sum(other) / 3 > 0.25
        if self.draw.chance(0.5):
            return color(self.second_hue, 0.1, 0.14) if bright else color(self.second_hue, 0.05, 0.95)
        value = self.draw.between(0.1, 0.4) if bright else self.draw.between(0.75, 1.0)
        return color(self.second_hue, self.saturation, value)

    def metal(self) -> Material:
        """Polished, brushed or worn metal, some of it anodised."""
        draw = self.draw
        tone = color(self.hue, draw.between(0.3, 0.7), draw.between(0.6, 0.95)) if draw.chance(0.2) else None
        tone = tone or draw.pick(METALS)
        dark = tuple(0.6 * channel for channel in tone)
        rough = draw.pick((0.06, 0.15, 0.25, 0.35, 0.5)) + draw.between(-0.01, 0.08)
        pattern = draw.pick(("plain", "plain", "plain", "stripes", "blotches", "scales"))
        other = min(1.0, rough + draw.between(0.1, 0.3))
        material = Material((tone, tone, dark), (rough, other, other), (1.0, 1.0, 1.0), pattern)
        return self._varied(material, 0.05, 0.2, draw.between(0.0, 0.3))

    def glossy(self) -> Material:
        """Paint, glaze, lacquer or hard plastic, plain or patterned."""
        draw = self.draw
        first = self.paint()
        second, third = self.contrast(first), self.paint()
        rough = draw.log_between(0.06, 0.5)
        pattern = draw.pick(PAINTED_PATTERNS) if draw.chance(0.68) else "plain"
        material = Material((first, second, third), (rough, rough, min(1.0, rough + 0.1)), (0.0, 0.0, 0.0), pattern)
        if draw.chance(0.15):
            # gilded
            material = replace(material, colors=(first, draw.pick(METALS), third), metallic=(0.0, 1.0, 0.0))
        return self._varied(material, 0.08, 0.4, draw.between(0.0, 0.15))

    def matte(self) -> Material:
        """Wood, stone, clay, rubber or cloth."""
        draw = self.draw
        kind = draw.integer(0, 3)
        if kind == 0:
            tone = draw.pick(WOODS)
            dark = tuple(channel * draw.between(0.35, 0.6) for channel in tone)
            rough = draw.between(0.35, 0.8)
            material = Material((tone, dark, dark), (rough, rough + 0.1, rough), (0.0, 0.0, 0.0), "wood")
        elif kind == 1:
            tone, other = draw.pick(STONES), draw.pick(STONES)
            light = tuple(min(0.9, 1.5 * channel) for channel in tone)
            pattern = draw.pick(("marble", "granite", "bricks", "blotches"))
            rough = draw.between(0.1, 0.5) if pattern == "marble" else draw.between(0.6, 1.0)
            material = Material((tone, other, light), (rough, rough, rough), (0.0, 0.0, 0.0), pattern)
        else:
            first = self.paint()
            rough = draw.between(0.65, 1.0)
            pattern = draw.pick(("tartan", "checks", "stripes", "waves", "dots", "plain"))
            colors = (first, self.contrast(first), self.paint())
            material = Material(colors, (rough, rough, rough), (0.0, 0.0, 0.0), pattern)
        return self._varied(material, 0.1, 0.45, draw.between(0.05, 0.35))

    def dark(self) -> Material:
        """Rubber, black plastic or blackened metal."""
        draw = self.draw
        tone = color(self.hue, draw.between(0, 0.3), draw.between(0.1, 0.3))
        rough = draw.between(0.2, 1.0)
        return self._varied(Material((tone, tone, tone), (rough,) * 3, (0.0,) * 3), 0.1, 0.3, draw.between(0, 0.2))

    def screen(self) -> Material:
        """Very smooth and dark or bright, such as glass, lenses, lights and eyes."""
        draw = self.draw
        tone = color(draw.unit(), draw.between(0.2, 0.9), draw.pick((0.08, 0.15, 0.7, 0.95)))
        other = color(draw.unit(), 0.6, draw.between(0.4, 1.0))
        pattern = draw.pick(("plain", "plain", "gradient", "text", "tiles"))
        return self._varied(Material((tone, other, tone), (0.05,) * 3, (0.0,) * 3, pattern), 0.05, 0.15, 0.0)

    def any_body(self) -> Material:
        """What most of an object may be made of."""
        chance = self.draw.unit()
        return self.glossy() if chance < 0.48 else self.matte() if chance < 0.8 else self.metal()

    def labelled(
        self, material: Material, face: int, center: tuple[float, float], size: tuple[float, float]
    ) -> Material:
        """The same material with a label on one side."""
        draw = self.draw
        ground = color(0.1, 0.08, 0.95) if draw.chance(0.4) else self.paint()
        label = (ground, self.contrast(ground), self.paint())
        return replace(
            material,
            label=label,
            label_face=face,
            label_center=center,
            label_size=size,
            label_picture=draw.chance(0.4),
        )

    def standard(self) -> list[Material]:
        """Body, trim, accent, dark, screen."""
        trim = self.metal() if self.draw.chance(0.6) else self.glossy()
        accent = self.glossy() if self.draw.chance(0.6) else self.any_body()
        return [self.any_body(), trim, accent, self.dark(), self.screen()]

    def _varied(self, material: Material, finest: float, coarsest: float, wear: float) -> Material:
        """The same material with a random size, turn and place of its pattern."""
        draw = self.draw
        fine = {"text": 0.6, "bricks": 1.2, "panels": 1.3, "marble": 2.0, "wood": 1.0, "granite": 1.0}
        period = draw.log_between(finest, coarsest) * fine.get(material.pattern, 1.0)
        turn = draw.pick((0.0, 0.0, math.pi / 2, math.pi / 4, draw.between(0, math.pi)))
        return replace(
            material,
            period=period,
            turn=0.0 if material.pattern in ("text", "bricks", "gradient") else turn,
            duty=draw.between(0.2, 0.75),
            offset=(draw.unit() * 8, draw.unit() * 8),
            wear=wear,
            sides=draw.between(0.0, 0.8) if draw.chance(0.7) else 0.0,
            seed=draw.integer(1, 9999),
        )
