"""Differentiable rendering of 3D Gaussians: one function, three backends that agree."""

from .normals import render_normals
from .render import BACKENDS, GaussianRender, render_gaussians
from .white import render_on_white


__all__ = ["BACKENDS", "GaussianRender", "render_gaussians", "render_normals", "render_on_white"]
