"""The procedural world: endless rooms and objects with exact depth, rendered in plain torch."""

from .render import render_world
from .views import WorldViews


__all__ = ["WorldViews", "render_world"]
