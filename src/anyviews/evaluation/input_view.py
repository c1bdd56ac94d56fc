"""Held-out objects that MVBoost's input view optimisation is measured on: a photo from an unknown side, and Gaussians.

Their Gaussians are LGM's of four true views, or stand-ins with LGM's layout: a Gaussian per pixel of four views, with
smooth errors of colours and of depth.
"""

import math
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..cameras import Cameras
from ..data.procedural import HELD_OUT_SEED_START
from ..data.world.objects.views import object_views
from ..gaussians import Gaussians
from ..geometry.rays import pixel_centers
from ..models.lgm import INPUT_AZIMUTHS, LGMConfig, LGMModel, lgm_cameras, prepare_images
from ..rendering.gaussians import render_on_white
from ..rendering.image_quality import multi_scale_ssim, psnr
from ..rendering.input_pose import ObjectPhoto, PoseSearch, agreement, moved_cameras, rotation_of
from ..rendering.input_view import InputViewFit, optimize_input_view
from ..rendering.refinement import RefinementSettings, refine_scene
from ..scene import Scene
from ..views import Views
from .angles import rotation_angles


# How far photos are from the front view: turns in degrees about any axis, factors of the distance, shifts in
# units of half the image's width.
MOST_TURNED, DISTANCES, MOST_SHIFTED = 30.0, (0.85, 1.2), 0.1
# Views that no Gaussian was made of and no fit sees: around the photo, and at the object's other sides.
NEAR, FAR = ((-25.0, 15.0), (25.0, 15.0), (0.0, 35.0)), ((135.0, 15.0), (225.0, 15.0))
# What the stand-ins are fitted to, first the inputs; and their errors: the deviation of colours, and the height of the
# waves by which they are bent, with their number per world unit, in radians.
RING = (*((azimuth, 0.0) for azimuth in INPUT_AZIMUTHS), (45.0, 35.0), (135.0, 35.0), (225.0, 35.0), (315.0, 35.0))
STAND_IN_STEPS = 50
COLOR_ERROR, WAVES_PER_UNIT = 0.08, 4.0
SUCCESS_DEGREES = 2.0
MEANS = (
    *("error_before", "error", "dissimilarity_before", "dissimilarity"),
    *("near_psnr_before", "near_psnr", "far_psnr_before", "far_psnr"),
    *("start", "process_s"),
)


@dataclass(frozen=True)
class InputViewCase:
    """A photo of an object, and Gaussians of it.

    Args:
        gaussians: one set.
        view_of: the input view that each Gaussian belongs to.
        inputs: cameras of the input views.
        photo: one view, with its camera and mask.
        near, far: views that tell what a fit does elsewhere.
    """

    gaussians: Gaussians
    view_of: Int[Tensor, "gaussians"]
    inputs: Cameras
    photo: Views
    near: Views
    far: Views


@torch.no_grad()
def input_view_case(index: int, size: int = 64, model: LGMModel | None = None, bend: float = 0.0) -> InputViewCase:
    """The held-out object of an index, its photo from a random place.

    Args:
        index: from 0; objects that no training sees.
        size: of all images in pixels.
        model: makes the Gaussians; without one they are stand-ins.
        bend: height of the waves by which stand-ins are bent, in world units.
    """
    generator = torch.Generator().manual_seed(index)
    places = torch.tensor(RING + NEAR + FAR)
    config = LGMConfig() if model is None else model.config
    cameras = lgm_cameras(places[:, 0], places[:, 1], config.camera_radius, config.field_of_view, size)
    views = object_views(HELD_OUT_SEED_START + index, cameras, samples=1)
    photo = object_views(HELD_OUT_SEED_START + index, photo_camera(cameras[0], generator).reshape(1))
    ring, rest = views[: len(RING)], views[len(RING) :]
    inputs = ring[: len(INPUT_AZIMUTHS)]
    if model is None:
        gaussians, view_of = stand_in_gaussians(ring, generator, bend)
    else:
        pixel_values = prepare_images(inputs.images, inputs.cameras, model.config.input_size)
        gaussians = model(pixel_values[None].to(model.device)).gaussians[0].to("cpu", torch.float32)
        view_of = torch.arange(len(gaussians)) // (len(gaussians) // len(inputs))
    return InputViewCase(gaussians, view_of, inputs.cameras, photo, rest[: len(NEAR)], rest[len(NEAR) :])


def mismatched(case: InputViewCase, index: int) -> InputViewCase:
    """The same Gaussians with a photo of another held-out object, from the same place."""
    return replace(case, photo=object_views(HELD_OUT_SEED_START + index, case.photo.cameras))


def evaluate_case(case: InputViewCase, search: PoseSearch | None = None, fit: InputViewFit | None = None) -> dict:
    """What the optimisation makes of a case, from LGM's front camera.

    Returns:
        "start" and "turn", degrees between the true camera and the front one, and the found one; "converged";
        "overlap"; "true_error", the root mean square of colour errors in the true pose; "error", the same in the found
        one, and "dissimilarity", 1 - multi-scale SSIM there; "near_psnr" and "far_psnr" of other views; the last four
        with "_before", as they were before the fit; and "process_s".
    """
    photo = ObjectPhoto(case.photo.images[0], case.photo.masks[0])
    inputs, true = case.inputs, case.photo.cameras[0]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `converged` is one of the scores
        found = optimize_input_view(case.gaussians, photo.image, photo.mask, inputs, case.view_of, search, fit)
    scores = {
        "process_s": time.process_time() - start,
        "start": float(rotation_angles(inputs.rotation[0], true.rotation)),
        "turn": float(rotation_angles(found.pose.camera.rotation, true.rotation)),
        "converged": found.pose.converged,
        "overlap": found.pose.overlap,
        "true_error": agreement(render_on_white(case.gaussians, case.photo.cameras), photo)[0],
        "error_before": found.error_before,
        "error": found.error,
    }
    there = found.pose.camera.reshape(1)
    for suffix, gaussians in (("_before", case.gaussians), ("", found.gaussians)):
        similarity = multi_scale_ssim(render_on_white(gaussians, there).images.clamp(0, 1), photo.image[None])
        scores[f"dissimilarity{suffix}"] = 1 - float(similarity)
    for name, views in (("near", case.near), ("far", case.far)):
        for suffix, gaussians in (("_before", case.gaussians), ("", found.gaussians)):
            images = render_on_white(gaussians, views.cameras).images.clamp(0, 1)
            scores[f"{name}_psnr{suffix}"] = float(psnr(images, views.images).mean())
    return scores


def summary(rows: Sequence[dict]) -> dict[str, float]:
    """Shares of cases and means over them.

    Args:
        rows: of `evaluate_case`.
    """

    def mean(values) -> float:
        values = [float(value) for value in values]
        return sum(values) / len(values)

    return {
        "cases": len(rows),
        "within 2 degrees": mean(row["turn"] < SUCCESS_DEGREES for row in rows),
        "within 5 degrees": mean(row["turn"] < 5 for row in rows),
        "median turn": statistics.median(row["turn"] for row in rows),
        "converged": mean(row["converged"] for row in rows),
        "as good as the true pose": mean(row["error_before"] <= row["true_error"] for row in rows),
        **{
            f"{name} halved": mean(row[name] <= row[f"{name}_before"] / 2 for row in rows)
            for name in ("error", "dissimilarity")
        },
        **{name: mean(row[name] for row in rows) for name in MEANS},
    }


def photo_camera(front: Cameras, generator: torch.Generator) -> Cameras:
    """A camera [] up to 30 degrees from the front one [], a little nearer or farther and off the middle."""
    axis = F.normalize(torch.randn(3, generator=generator), dim=0)
    angle, factor, x, y = torch.rand(4, generator=generator).tolist()
    low, high = DISTANCES
    return moved_cameras(
        front,
        rotation_of(axis[None] * math.radians(MOST_TURNED) * angle),
        torch.tensor([[2 * x - 1, 2 * y - 1]]) * MOST_SHIFTED,
        torch.tensor([math.log(low + (high - low) * factor)]),
    )[0]


def stand_in_gaussians(
    ring: Views, generator: torch.Generator, bend: float = 0.0
) -> tuple[Gaussians, Int[Tensor, "gaussians"]]:
    """Gaussians with LGM's layout and kind of error, and the input view that each belongs to.

    They start from the pixels of the four inputs, are fitted to all true views, and are then coloured wrongly and
    bent, in smooth ways.

    Args:
        ring: views with depth, first the inputs.
        generator: of the errors.
        bend: height of the waves, in world units.
    """
    inputs = ring[: len(INPUT_AZIMUTHS)]
    size = ring.width
    known = inputs.depths[:, 0] > 0
    pixels = pixel_centers(size, size).flatten(0, 1).expand(len(inputs), -1, 2)
    means = inputs.cameras.unproject(pixels, inputs.depths.flatten(1)).unflatten(1, (size, size))[known]
    widths = (inputs.depths[:, 0] / inputs.cameras.intrinsics[:, 0, 0, None, None])[known]  # of a pixel, at its depth
    view_of = torch.arange(len(inputs))[:, None, None].expand_as(known)[known]
    start = Gaussians.from_colors(
        means,
        torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(means), 4).clone(),
        widths[:, None].expand(-1, 3) / 2,
        torch.full_like(widths, 0.9),
        inputs.images.movedim(1, -1)[known],
    )
    with torch.enable_grad():
        fitted = refine_scene(
            Scene(ring.cameras, gaussians=start),
            replace(ring, depths=None),
            STAND_IN_STEPS,
            optimize_cameras=False,
            degree=0,
            background=torch.ones(3),
            settings=RefinementSettings(coarse_levels=0),
        ).scene.gaussians
    wrong = COLOR_ERROR * _smooth(len(inputs), 3, size, generator).movedim(1, -1)[known]
    phases = WAVES_PER_UNIT * fitted.means @ torch.randn(3, 3, generator=generator)
    bent = fitted.means + bend * torch.sin(phases + 2 * math.pi * torch.rand(3, generator=generator))
    colors = (fitted.colors + wrong).clamp(0, 1)
    return Gaussians.from_colors(bent, fitted.rotations, fitted.scales, fitted.opacities, colors), view_of


def _smooth(count: int, channels: int, size: int, generator: torch.Generator) -> Float[Tensor, "..."]:
    coarse = torch.randn(count, channels, 4, 4, generator=generator)
    return F.interpolate(coarse, (size, size), mode="bicubic")
