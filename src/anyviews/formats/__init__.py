"""Files in and out: one file per format, over Views and Scene."""

from .detect import SCENE_FORMATS, VIEW_FORMATS, load_points, load_views, save_scene, save_views


__all__ = ["SCENE_FORMATS", "VIEW_FORMATS", "load_points", "load_views", "save_scene", "save_views"]
