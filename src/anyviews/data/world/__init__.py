"""The procedural world: endless rooms and objects with exact depth, rendered in plain torch."""

from .render import WorldViews, render_world


__all__ = ["WorldViews", "render_world"]
