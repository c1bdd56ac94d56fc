"""Procedural objects with PBR materials under HDR environments."""

from .render import render_objects


__all__ = ["render_objects"]
