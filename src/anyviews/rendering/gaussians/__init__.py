"""Differentiable rendering of 3D Gaussians: one function, three backends that agree."""

from .render import BACKENDS, GaussianRender, render_gaussians


__all__ = ["BACKENDS", "GaussianRender", "render_gaussians"]
