"""Gaussians of objects in front of white, as photos of cut-out objects are shown to networks."""

import torch

from ...cameras import Cameras
from ...gaussians import Gaussians
from .render import GaussianRender, render_gaussians


def render_on_white(gaussians: Gaussians, cameras: Cameras) -> GaussianRender:
    """Renders with a white background; arguments as of `render_gaussians`."""
    return render_gaussians(gaussians, cameras, background=torch.ones(3).to(gaussians.means))
