"""refine_scene: Gaussians and camera poses that fit the photos better, by gradient descent through the renderer."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..geometry.similarity import Similarity, nearest_rotation
from ..scene import Scene
from ..views import Views
from .gaussians import render_gaussians
from .image_quality import ssim, weighted_mean
from .initialization import initial_gaussians
from .photo_targets import Targets, near_plane, photo_scores, posed_views, shrunk
from .scene_parameters import FALLING, LearningRates, SceneParameters


# Parameters of cameras.
CAMERA_GROUPS = ("camera_turns", "camera_shifts", "log_focal")

# Length, as a fraction of the depth of the scene, below which the spread of the cameras does not say the scale.
SCALE_PRIOR = 0.1


@dataclass(frozen=True)
class RefinementSettings:
    """How a refinement steps; the defaults are those that docs/refine.md measures.

    Args:
        views_per_step: photos that each step renders.
        ssim_weight: weight of 1 - SSIM against that of the mean absolute difference.
        coarse_levels: with 2, a quarter of the steps see photos of a quarter of the size, another quarter of half of
            it; this finds poses that are off by several pixels. With 0 all steps see all pixels.
        still_share: share of the steps in which cameras wait for the Gaussians to take shape.
        camera_prior: loss of a pose that is off the given one by a radian, or by the scene's extent, squared. It holds
            what photos say nothing about, as a slow bend of the whole scene.
        max_gaussians: how many are made from points or depth, where the scene has no Gaussians.
        rates: step sizes.
        backend: of `render_gaussians`.
        seed: of the order of photos, and of what is drawn.

    Raises:
        ValueError: for values outside these meanings.
    """

    views_per_step: int = 1
    ssim_weight: float = 0.2
    coarse_levels: int = 2
    still_share: float = 0.1
    camera_prior: float = 3.0
    max_gaussians: int = 50_000
    rates: LearningRates = field(default_factory=LearningRates)
    backend: str = "auto"
    seed: int = 0

    def __post_init__(self):
        shares = (self.ssim_weight, self.still_share)
        if self.views_per_step < 1 or not 0 <= self.coarse_levels <= 3 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                f"found views_per_step {self.views_per_step}, coarse_levels {self.coarse_levels}, ssim_weight "
                f"{self.ssim_weight}, still_share {self.still_share}; accepted are 1 and more, 0 to 3, 0 to 1, 0 to 1"
            )


@dataclass(frozen=True)
class RefinementResult:
    """A refined scene, and what the refinement did.

    Args:
        scene: the refined Gaussians, the refined cameras, and the photos; in the world of the given cameras.
        losses: [steps], of each step's photos before that step.
        psnr_before: [V] in dB, of the scene as given, over the pixels that count.
        psnr_after: [V] in dB.
        turns: [V] in degrees, between each given and refined camera.
        shifts: [V] in world units, between their centres.
        focal_factor: refined over given focal lengths.
    """

    scene: Scene
    losses: Float[Tensor, "steps"]
    psnr_before: Float[Tensor, "views"]
    psnr_after: Float[Tensor, "views"]
    turns: Float[Tensor, "views"]
    shifts: Float[Tensor, "views"]
    focal_factor: float


def refine_scene(
    scene: Scene,
    views: Views | None = None,
    steps: int = 500,
    optimize_cameras: bool = True,
    optimize_intrinsics: bool = False,
    degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    settings: RefinementSettings | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> RefinementResult:
    """Fit Gaussians and camera poses to photos (Kerbl et al., SIGGRAPH 2023; poses as in Lin et al., BARF, ICCV 2021).

    Poses and Gaussians together are free to drift through the world; the result is aligned back to the given cameras
    by a similarity, so that what `scene.scale` says stays true. The scene given is not changed.

    Args:
        scene: with Gaussians, or points or depth to start them from (`initial_gaussians`).
        views: the photos, with cameras in the scene's world; those without take the scene's. None: the scene's images.
            Pixels outside masks do not count.
        steps: of Adam.
        optimize_cameras: whether the poses move; they stay bit for bit where not.
        optimize_intrinsics: whether one factor of all focal lengths moves.
        degree: of the spherical harmonics, 0 to 3; None keeps that of the Gaussians.
        background: [3], sRGB: photos with masks are composited on it, and all pixels count. None: black, and pixels
            outside masks do not count.
        settings: everything else.
        on_step: called after each step with its number, from 1, and its loss.

    Raises:
        ValueError: for inputs that cannot be used, and where the loss or its slope is no longer finite.
    """
    settings = settings or RefinementSettings()
    if steps < 1:
        raise ValueError(f"steps is {steps}; accepted are 1 and more")
    views = posed_views(scene, views).validate()
    start = initial_gaussians(scene, degree, settings.max_gaussians, settings.seed).validate()
    pyramid = [
        Targets.create(shrunk(views, level), background, start.means) for level in range(settings.coarse_levels + 1)
    ]
    cameras = views.cameras.to(start.device, start.dtype)
    extent, near = scene_extent(start, cameras), near_plane(start, cameras)
    parameters = SceneParameters(start.detach(), cameras, extent, near, optimize_cameras, optimize_intrinsics)
    losses = _descend(parameters, pyramid, steps, settings, on_step)
    gaussians, refined = _in_given_world(parameters)
    turns, shifts = camera_changes(refined, cameras)
    return RefinementResult(
        replace(
            scene,
            cameras=refined,
            images=views.images,
            gaussians=gaussians,
            names=views.names,
            # what follows was not refined and no longer fits
            depths=None,
            depth_uncertainty=None,
            points=None,
            mesh=None,
        ),
        torch.tensor(losses),
        photo_scores(start, views, background, settings.backend)["psnr"],
        photo_scores(gaussians, replace(views, cameras=refined), background, settings.backend)["psnr"],
        turns,
        shifts,
        float(parameters.log_focal.detach().exp()),
    )


def scene_extent(gaussians: Gaussians, cameras: Cameras) -> float:
    """The median depth of Gaussians inside the photos, in world units.

    It is the length by which moves of points and cameras are seen in pixels; the spread of the cameras, the original's
    choice, says nothing of a scene that few cameras see from nearly one place.

    Raises:
        ValueError: if no camera sees a Gaussian's mean.
    """
    medians = []
    for camera in cameras:
        pixels, depth = camera.project(gaussians.means.detach())
        inside = (depth > 0) & (pixels >= 0).all(-1) & (pixels <= camera.image_sizes.flip(-1)).all(-1)
        if inside.any():
            medians.append(depth[inside].median())
    if not medians:
        raise ValueError(
            f"none of {len(gaussians)} Gaussians lies in any of the {len(cameras)} photos; are the cameras "
            "camera-to-world with OpenCV axes, in the Gaussians' world?"
        )
    return float(torch.stack(medians).median())


def align_refined(source: Cameras, target: Cameras, extent: float) -> Similarity:
    """Find the similarity that maps cameras onto slightly different ones, by their centres and their rotations.

    Centres alone (`align_cameras`) would turn the world by what they are off over their spread: far more than the
    cameras turned, where the photos were taken from nearly one place. Here a turn counts by how it moves what is seen
    `extent` ahead. Centres alone say the scale, held to 1 by one more equal length per camera.

    Args:
        source: cameras of batch shape [V].
        target: the cameras that they correspond to.
        extent: depth of what the cameras see, in world units.
    """
    source_mean, target_mean = source.centers.mean(0), target.centers.mean(0)
    offsets, wanted = source.centers - source_mean, target.centers - target_mean
    covariance = wanted.mT @ offsets
    rotation = nearest_rotation(covariance + extent**2 * (target.rotation @ source.rotation.mT).sum(0))
    held = len(source) * (SCALE_PRIOR * extent) ** 2
    scale = ((rotation * covariance).sum() + held) / (offsets.square().sum() + held)
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def camera_changes(refined: Cameras, given: Cameras) -> tuple[Float[Tensor, "views"], Float[Tensor, "views"]]:
    """Angles in degrees and distances in world units between cameras of two sets."""
    refined, given = refined.to(dtype=torch.float64), given.to(dtype=torch.float64)
    # the chord, unlike the trace, is exact for small angles
    chord = (refined.rotation - given.rotation).flatten(-2).norm(dim=-1) / math.sqrt(8)
    turns = torch.rad2deg(2 * torch.asin(chord.clamp(max=1)))
    return turns, (refined.centers - given.centers).norm(dim=-1)


def _descend(
    parameters: SceneParameters,
    pyramid: list[Targets],
    steps: int,
    settings: RefinementSettings,
    on_step: Callable[[int, float], None] | None,
) -> list[float]:
    """Run Adam; returns the loss of every step."""
    # gradients of a mean over many pixels are far below Adam's usual epsilon
    optimizer = torch.optim.Adam(parameters.groups(settings.rates), eps=1e-15)
    falling = [(group, group["lr"]) for group in optimizer.param_groups if group["name"] in FALLING]
    order = _photo_order(len(parameters.given_cameras), settings)
    losses = []
    for step in range(steps):
        decay = (settings.rates.means_final / settings.rates.means) ** (step / max(steps - 1, 1))
        for group, rate in falling:
            waits = group["name"] in CAMERA_GROUPS and step < settings.still_share * steps
            group["lr"] = 0.0 if waits else rate * decay
        targets = pyramid[max(0, settings.coarse_levels - 4 * step // steps)]
        index = next(order)
        loss = _loss(parameters, index, targets[index], settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _check_finite(loss, optimizer, step)
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step + 1, losses[-1])
    return losses


def _photo_order(count: int, settings: RefinementSettings):
    """Indices of each step's photos: every photo once, in random order, before any comes again."""
    generator = torch.Generator().manual_seed(settings.seed)
    waiting: list[int] = []
    per_step = min(settings.views_per_step, count)
    while True:
        if len(waiting) < per_step:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield torch.tensor(waiting[:per_step])
        waiting = waiting[per_step:]


def _loss(parameters: SceneParameters, index: Tensor, targets: Targets, settings: RefinementSettings) -> Tensor:
    """(1 - w) L1 + w (1 - SSIM) of some photos, Kerbl et al., Eq. 7, and what holds their cameras."""
    cameras = parameters.cameras(index).resize(*targets.images.shape[-2:])
    render = render_gaussians(
        parameters.gaussians(),
        cameras,
        backend=settings.backend,
        background=targets.background,
        near=parameters.near,
    ).images
    difference = weighted_mean((render - targets.images).abs(), targets.weights).mean()
    dissimilarity = 1 - ssim(render, targets.images, targets.weights).mean()
    photometric = (1 - settings.ssim_weight) * difference + settings.ssim_weight * dissimilarity
    if not parameters.optimize_cameras:
        return photometric
    turns, shifts = parameters.corrections(index)
    return photometric + settings.camera_prior * (turns.square() + shifts.square()).sum(-1).mean()


def _check_finite(loss: Tensor, optimizer: torch.optim.Optimizer, step: int) -> None:
    broken = [] if loss.isfinite() else ["the loss"]
    for group in optimizer.param_groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        if not all(gradient.isfinite().all() for gradient in gradients):
            broken.append(f"the slope of {group['name']}")
    if broken:
        raise ValueError(
            f"{', '.join(broken)} became NaN or infinite at step {step + 1}; the scene is unchanged. Give lower "
            "learning rates (RefinementSettings.rates), or leave out Gaussians close to a camera"
        )


@torch.no_grad()
def _in_given_world(parameters: SceneParameters) -> tuple[Gaussians, Cameras]:
    """The refined Gaussians and cameras, aligned to the given cameras where these moved."""
    gaussians, cameras, given = parameters.gaussians().detach(), parameters.cameras(), parameters.given_cameras
    if not parameters.optimize_cameras:
        return gaussians, cameras
    cameras = cameras.to(dtype=torch.float64)
    back = align_refined(cameras, given.to(dtype=torch.float64), parameters.extent)
    moved = back.apply_cameras(cameras).to(dtype=given.dtype)
    return gaussians.to(dtype=torch.float64).transform(back).to(dtype=gaussians.dtype), moved
