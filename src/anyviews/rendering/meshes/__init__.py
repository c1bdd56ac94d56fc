"""Meshes to pixels: a rasteriser on the CPU, and what textures say at the pixels."""

from .rasterize import MeshFragments, rasterize


__all__ = ["MeshFragments", "rasterize"]
