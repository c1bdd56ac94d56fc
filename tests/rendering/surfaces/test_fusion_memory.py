"""The memory that a fusion says it needs is what it takes."""

from depth_shapes import cameras_on_sphere, sphere_depth
from live_bytes import LiveBytes

from anyviews.rendering.surfaces import tsdf
from anyviews.rendering.surfaces.fusion import fuse_depths


def test_memory_is_what_was_counted(monkeypatch):
    counted = []

    def count(grid, filled_blocks, max_gigabytes):
        counted.append(tsdf.needed_bytes(grid, filled_blocks))

    monkeypatch.setattr(tsdf, "check_memory", count)
    cameras = cameras_on_sphere(4, 96)
    depths = sphere_depth(cameras)
    with LiveBytes() as live:
        fuse_depths(None, depths, cameras, resolution=150)
    assert 0.6 * counted[-1] < live.peak < counted[-1]
