"""Artists' meshes rendered into samples by the path tracer Mitsuba 3, which is loaded on first use."""

from .dataset import render_dataset
from .meshes import load_asset
from .problems import UnusableObjectError
from .render import render_views
from .samples import Settings, render_sample
from .variants import choose_variant, load_mitsuba


__all__ = [
    "Settings",
    "UnusableObjectError",
    "choose_variant",
    "load_asset",
    "load_mitsuba",
    "render_dataset",
    "render_sample",
    "render_views",
]
