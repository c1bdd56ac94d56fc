"""Differentiable rendering of 3D Gaussians: one function, three backends that agree."""

from .normals import render_normals
from .render import BACKENDS, GaussianRender, render_gaussians


__all__ = ["BACKENDS", "GaussianRender", "render_gaussians", "render_normals"]
