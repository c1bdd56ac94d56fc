"""Files in and out: one file per format, over Views and Scene."""

from .detect import VIEW_FORMATS, load_views, save_views
from .scene_files import SCENE_FORMATS, load_gaussians, load_points, load_scene, save_scene


__all__ = [
    "SCENE_FORMATS",
    "VIEW_FORMATS",
    "load_gaussians",
    "load_points",
    "load_scene",
    "load_views",
    "save_scene",
    "save_views",
]
