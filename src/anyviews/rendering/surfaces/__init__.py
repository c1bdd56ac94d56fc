"""Surfaces: depth maps or Gaussians to a coloured mesh."""

from .fusion import fuse_depths, mesh_from_scene
from .gaussian_meshes import mesh_from_gaussians


__all__ = ["fuse_depths", "mesh_from_gaussians", "mesh_from_scene"]
