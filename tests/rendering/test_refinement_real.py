"""Poses of a real capture that are off by a degree are refined until photos that were kept out look right."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from anyviews.cameras import Cameras, rigid
from anyviews.formats import load_views
from anyviews.rendering.photo_targets import photo_scores
from anyviews.rendering.refinement import RefinementSettings, align_refined, refine_scene
from anyviews.rendering.scene_parameters import cross_matrix
from anyviews.scene import Scene


# Depth of the room in metres, and what each pose is off by: a degree, and so much of the depth.
DEPTH, DEGREES, FRACTION = 1.8, 1.0, 0.01


def perturbed(cameras: Cameras) -> Cameras:
    generator = torch.Generator().manual_seed(1)
    turns, shifts = F.normalize(torch.randn(2, len(cameras), 3, generator=generator), dim=-1).unbind()
    rotation = cameras.rotation @ torch.matrix_exp(cross_matrix(turns * torch.deg2rad(torch.tensor(DEGREES))))
    return replace(cameras, camera_to_world=rigid(rotation, cameras.centers + FRACTION * DEPTH * shifts))


def pixel_error(found: Cameras, true: Cameras) -> float:
    """Median distance in pixels at which points at the room's depth are seen."""
    aligned = align_refined(found, true, DEPTH).apply_cameras(found)
    pixels = torch.rand(len(true), 500, 2) * torch.tensor([true.width, true.height])
    points = true.unproject(pixels, torch.full(pixels.shape[:2], DEPTH))
    return (aligned.project(points)[0] - pixels).norm(dim=-1).median().item()


def test_poses_of_a_room_and_photos_kept_out(shared_data):
    views = load_views(shared_data / "posed" / "icl_livingroom", size=(54, 72))
    held_out = list(range(2, len(views), 5))
    seen = views[[index for index in range(len(views)) if index not in held_out]]
    given = perturbed(seen.cameras)
    scene = Scene(given, seen.images, seen.depths, scale="metric")
    settings = RefinementSettings(max_gaussians=3000)
    found = {}
    for moving in (False, True):
        result = refine_scene(scene, steps=300, optimize_cameras=moving, settings=settings).scene
        # photos kept out are looked for where the true poses are, in the world of the poses found
        world = align_refined(seen.cameras, result.cameras, DEPTH)
        kept_out = replace(views[held_out], cameras=world.apply_cameras(views[held_out].cameras))
        found[moving] = photo_scores(result.gaussians, kept_out)["psnr"].mean().item()
    assert found[True] > found[False] + 2
    assert pixel_error(given, seen.cameras) > 0.9 and pixel_error(result.cameras, seen.cameras) < 0.4
