"""find_input_pose: where a photo of an object was taken from, given Gaussians of that object."""

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras, rigid
from ..gaussians import Gaussians
from .gaussians import GaussianRender, render_on_white
from .image_quality import multi_scale_ssim
from .lpips import LPIPS
from .refinement import camera_changes
from .scene_parameters import cross_matrix


# Steps of Adam at the beginning, between small and large renders, and at the end: turns in radians, shifts in units of
# half the image's width, and the distance's logarithm.
RATES = (0.04, 0.015, 0.0015)
# A grid's cameras come no nearer and go no farther than this factor to make silhouettes equally large.
MOST_SCALED = 2.0


@dataclass(frozen=True)
class PoseSearch:
    """Which poses are tried, and how the best of them are refined.

    Args:
        azimuths, elevations, rolls: in degrees, from the given camera; all combinations are tried, each at the
            distance and with the shift that its silhouette asks for.
        grid_size: side of the renders of the grid, in pixels.
        candidates: how many of the grid's poses are refined at this size.
        coarse_steps: of Adam, of each of them.
        size: side of the renders of the best of these, in pixels.
        steps: of Adam, of that one.
        least_overlap: intersection over union of silhouettes from which a search counts as converged.
        most_error: of colours, the root of their mean square over the union of silhouettes, up to which it does.

    Raises:
        ValueError: for values outside these meanings.
    """

    azimuths: tuple[float, ...] = tuple(range(-45, 46, 15))
    elevations: tuple[float, ...] = tuple(range(-30, 31, 15))
    rolls: tuple[float, ...] = (-20, 0, 20)
    grid_size: int = 32
    candidates: int = 4
    coarse_steps: int = 20
    size: int = 64
    steps: int = 40
    least_overlap: float = 0.8
    most_error: float = 0.2

    def __post_init__(self):
        counts = (self.candidates, self.coarse_steps, self.steps)
        if not (self.azimuths and self.elevations and self.rolls) or min(counts) < 1:
            raise ValueError(
                "a search needs an azimuth, an elevation, a roll, a candidate and steps; found "
                f"azimuths={self.azimuths}, elevations={self.elevations}, rolls={self.rolls}, "
                f"candidates={self.candidates}, coarse_steps={self.coarse_steps}, steps={self.steps}"
            )
        if min(self.grid_size, self.size) < 16:
            raise ValueError(f"grid_size={self.grid_size}, size={self.size}; accepted are 16 pixels and more")


@dataclass(frozen=True)
class InputPose:
    """The pose that shows a photo best.

    Args:
        camera: of batch shape [], in pixels of the photo.
        turn: in degrees, from the given camera.
        error: of colours, the root of their mean square over the union of silhouettes.
        overlap: of silhouettes, intersection over union.
        converged: whether both are good enough for the photo to be one of this object; if not, the camera still is
            the best that was found.
    """

    camera: Cameras
    turn: float
    error: float
    overlap: float
    converged: bool


def find_input_pose(
    gaussians: Gaussians,
    image: Float[Tensor, "3 height width"],
    mask: Float[Tensor, "1 _ _"],
    camera: Cameras,
    search: PoseSearch | None = None,
    lpips: LPIPS | None = None,
) -> InputPose:
    """Find the camera from which Gaussians around the origin look like a photo of them (MVBoost, arXiv 2411.17772).

    A grid of directions, then descent through the renderer from the best of them, in all six degrees of freedom. No
    random numbers are involved.

    Args:
        gaussians: one set.
        image: the photo, sRGB in [0, 1], the object on white.
        mask: 1 on the object.
        camera: of batch shape [], where the photo may have been taken from; its intrinsics are the photo's.
        search: everything else.
        lpips: compares photo and render while descending; without it 1 - multi-scale SSIM does.

    Raises:
        ValueError: if the sizes differ, or the mask is empty or full.
    """
    search = search or PoseSearch()
    gaussians = gaussians.detach().validate()
    check_photo(image, mask, camera)
    camera = camera.to(gaussians.device, gaussians.dtype)
    photo = ObjectPhoto(image.to(gaussians.means), mask.to(gaussians.means))
    coarse, fine = photo.resized(search.grid_size), photo.resized(search.size)
    cameras = _best_of_grid(gaussians, coarse, camera, search)
    cameras = _descended(gaussians, coarse, cameras, search.coarse_steps, RATES[:2], lpips)
    with torch.no_grad():
        nearest = photo_distance(render_on_white(gaussians, cameras), coarse).argmin()
    best = _descended(gaussians, fine, cameras[nearest[None]], search.steps, RATES[1:], lpips)
    with torch.no_grad():
        error, overlap = agreement(render_on_white(gaussians, photo.seen(best)), photo)
    best = best[0]
    turn = float(camera_changes(best.reshape(1), camera.reshape(1))[0])
    converged = overlap >= search.least_overlap and error <= search.most_error
    return InputPose(photo.seen(best), turn, error, overlap, converged)


def moved_cameras(
    cameras: Cameras,
    rotations: Float[Tensor, "views 3 3"],
    shifts: Float[Tensor, "views 2"],
    log_distances: Float[Tensor, "views"],
) -> Cameras:
    """Cameras [V] that are turned about the origin, then moved away from it, then sideways.

    Args:
        cameras: of batch shape [] or [V].
        rotations: in each camera's own axes; they keep the origin where it is in the image.
        shifts: to the right and down, in units of half the image's width as it is at the origin.
        log_distances: logarithms of the factors of that distance.
    """
    own = (cameras.rotation.mT @ cameras.centers[..., None])[..., 0]  # the centre in the camera's axes
    rotation = cameras.rotation @ rotations
    centers = (rotation @ own[..., None])[..., 0] * log_distances.exp()[:, None]
    half_width = cameras.width / 2 / cameras.intrinsics[..., 0, 0] * centers.norm(dim=-1)
    sideways = shifts * half_width[:, None]
    centers = centers + (rotation[..., :2] @ sideways[..., None])[..., 0]
    count = len(rotation)
    return Cameras(
        cameras.intrinsics.expand(count, 3, 3), rigid(rotation, centers), cameras.image_sizes.expand(count, 2)
    )


def rotation_of(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations about vectors, by their lengths in radians."""
    return torch.matrix_exp(cross_matrix(vectors))


@dataclass(frozen=True)
class ObjectPhoto:
    """An object on white.

    Args:
        image: sRGB in [0, 1].
        mask: 1 on the object.
    """

    image: Float[Tensor, "3 size size"]
    mask: Float[Tensor, "1 size size"]

    def resized(self, size: int) -> "ObjectPhoto":
        """The same photo with another number of pixels."""
        if self.image.shape[-1] == size:
            return self
        both = torch.cat([self.image, self.mask])[None]
        both = F.interpolate(both, (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
        return ObjectPhoto(both[:3], both[3:])

    def seen(self, cameras: Cameras) -> Cameras:
        """Cameras whose images have this photo's pixels."""
        return cameras.resize(*self.image.shape[-2:])


def photo_distance(render: GaussianRender, photo: ObjectPhoto, lpips: LPIPS | None = None) -> Float[Tensor, "views"]:
    """What a descent lowers: squared errors of colours and silhouettes, and LPIPS or 1 - multi-scale SSIM."""
    image = photo.image.expand_as(render.images)
    colors = (render.images - image).square().flatten(1).mean(1)
    silhouettes = (render.alphas - photo.mask).square().flatten(1).mean(1)
    compare = lpips or (lambda images, references: 1 - multi_scale_ssim(images, references))
    return colors + silhouettes + 0.2 * compare(render.images, image)


def agreement(render: GaussianRender, photo: ObjectPhoto) -> tuple[float, float]:
    """Of one render: the root mean square of colour errors over both silhouettes, and these silhouettes' IoU."""
    alpha, mask = render.alphas[0], photo.mask
    union = torch.maximum(alpha, mask)
    squared = (render.images[0].clamp(0, 1) - photo.image).square().mean(0, keepdim=True)
    error = ((squared * union).sum() / union.sum()).sqrt()
    return float(error), float(torch.minimum(alpha, mask).sum() / union.sum())


def check_photo(image: Tensor, mask: Tensor, camera: Cameras) -> None:
    """Raise ValueError that says what of a photo cannot be used."""
    size = tuple(image.shape[-2:])
    if size[0] != size[1] or tuple(mask.shape[-2:]) != size or camera.batch_shape:
        raise ValueError(
            f"the photo is {size[0]}x{size[1]}, its mask {mask.shape[-2]}x{mask.shape[-1]}, and the camera of batch "
            f"shape {camera.batch_shape}; accepted are one square size, and a single camera"
        )
    share = float((mask >= 0.5).float().mean())
    if not (image.isfinite().all() and mask.isfinite().all()) or not 0 < share < 1:
        raise ValueError(
            f"the mask covers {share:.1%} of the photo (or values are not finite); accepted is an object with room "
            "around it, 1 on the object"
        )


@torch.no_grad()
def _best_of_grid(gaussians: Gaussians, photo: ObjectPhoto, camera: Cameras, search: PoseSearch) -> Cameras:
    """The nearest cameras [K] of the grid."""
    angles = torch.tensor(list(product(search.azimuths, search.elevations, search.rolls))).to(gaussians.means)
    azimuth, elevation, roll = torch.deg2rad(angles.double()).to(angles).unbind(-1)
    zero = torch.zeros_like(roll)
    # a camera that goes to the viewer's right turns about its up axis, one that goes up about its right axis
    axes = ((zero, -azimuth, zero), (-elevation, zero, zero), (zero, zero, roll))
    across, over, around = (rotation_of(torch.stack(axis, dim=-1)) for axis in axes)
    turn = across @ over @ around
    cameras = photo.seen(moved_cameras(camera, turn, torch.zeros_like(angles[:, :2]), zero))
    size, middle = _silhouette(render_on_white(gaussians, cameras).alphas)
    wanted_size, wanted_middle = _silhouette(photo.mask[None])
    nearer = (wanted_size / size).clamp(1 / MOST_SCALED, MOST_SCALED)
    # the middle of a silhouette that is enlarged moves away from the image's; the image is two of its halves wide
    shifts = 2 * (middle * nearer[:, None] - wanted_middle)
    cameras = photo.seen(moved_cameras(camera, turn, shifts, -nearer.log()))
    distances = photo_distance(render_on_white(gaussians, cameras), photo)
    return cameras[distances.argsort(stable=True)[: search.candidates]]


def _silhouette(alphas: Float[Tensor, "views 1 size size"]) -> tuple[Tensor, Tensor]:
    """Root of the area, and the middle from the image's, both in units of the image's side."""
    line = (torch.arange(alphas.shape[-1]).to(alphas) + 0.5) / alphas.shape[-1] - 0.5
    area = alphas.mean((1, 2, 3)).clamp(min=1e-6)
    middle = torch.stack([(alphas * line).mean((1, 2, 3)), (alphas * line[:, None]).mean((1, 2, 3))], -1)
    return area.sqrt(), middle / area[:, None]


def _descended(
    gaussians: Gaussians,
    photo: ObjectPhoto,
    starts: Cameras,
    steps: int,
    rates: tuple[float, float],
    lpips: LPIPS | None,
) -> Cameras:
    """Each of the cameras [K] after Adam, whose steps shrink from one rate to another."""
    starts = photo.seen(starts)
    with torch.enable_grad():
        turns, shifts, logs = (starts.centers.new_zeros(len(starts), n, requires_grad=True) for n in (3, 2, 1))
        optimizer = torch.optim.Adam([turns, shifts, logs], eps=1e-12)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rates[0] * (rates[1] / rates[0]) ** (step / max(steps - 1, 1))
            optimizer.zero_grad(set_to_none=True)
            cameras = moved_cameras(starts, rotation_of(turns), shifts, logs[:, 0])
            # each camera's loss has slopes for its own pose alone
            photo_distance(render_on_white(gaussians, cameras), photo, lpips).sum().backward()
            optimizer.step()
    return moved_cameras(starts, rotation_of(turns.detach()), shifts.detach(), logs.detach()[:, 0])
