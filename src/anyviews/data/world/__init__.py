"""The procedural world: endless rooms, apartments and objects with exact depth, rendered in plain torch."""

from .render import WorldKind, render_world
from .views import WorldViews


__all__ = ["WorldKind", "WorldViews", "render_world"]
