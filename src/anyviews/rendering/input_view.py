"""optimize_input_view: an object's Gaussians after the photo that they were generated from (MVBoost, stage 5)."""

import warnings
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..geometry.spherical_harmonics import CONSTANT_HARMONIC
from .gaussians import render_on_white
from .input_pose import (
    InputPose,
    ObjectPhoto,
    PoseSearch,
    agreement,
    check_photo,
    find_input_pose,
    photo_distance,
)
from .lpips import LPIPS


# Raw values that may move; the first two leave the shape alone.
COLORS, OPACITIES, SCALES, MEANS = "colors", "opacities", "scales", "means"
PARTS = (COLORS, OPACITIES, SCALES, MEANS)


@dataclass(frozen=True)
class InputViewFit:
    """How Gaussians follow a photo.

    Args:
        parts: what of them moves: some of "colors", "opacities", "scales", "means".
        steps: of Adam.
        rate: its step size, for the raw values: logits of colours and opacities, logarithms of scales.
        means_rate: its step size for means, in world units.
        prior: weight of the mean square of what is added, in units of the step size: it holds what the photo says
            little about, of which Adam alone would make as large steps as of the rest.

    Raises:
        ValueError: for values outside these meanings.
    """

    parts: tuple[str, ...] = PARTS
    steps: int = 60
    rate: float = 0.1
    means_rate: float = 0.002
    prior: float = 2e-5

    def __post_init__(self):
        if not self.parts or set(self.parts) - set(PARTS) or self.steps < 1 or not self._rates_fit():
            raise ValueError(
                f"parts={self.parts}, steps={self.steps}, rate={self.rate}, means_rate={self.means_rate}, "
                f"prior={self.prior}; accepted are some of {', '.join(PARTS)}, 1 step and more, rates above 0, and 0 "
                "or more"
            )

    def _rates_fit(self) -> bool:
        return min(self.rate, self.means_rate) > 0 and self.prior >= 0


@dataclass(frozen=True)
class InputView:
    """Gaussians after a photo.

    Args:
        gaussians: all of them, in their order; the given ones where the search for the pose did not converge.
        pose: of the photo.
        error: of colours, the root of their mean square over the union of silhouettes.
    """

    gaussians: Gaussians
    pose: InputPose
    error: float

    @property
    def error_before(self) -> float:
        """The same of the Gaussians as given."""
        return self.pose.error


def optimize_input_view(
    gaussians: Gaussians,
    image: Float[Tensor, "3 height width"],
    mask: Float[Tensor, "1 _ _"],
    view_cameras: Cameras,
    view_of: Int[Tensor, "gaussians"],
    search: PoseSearch | None = None,
    fit: InputViewFit | None = None,
    lpips: LPIPS | None = None,
) -> InputView:
    """Find where a photo was taken from, and fit the Gaussians of the view nearest to it (MVBoost, arXiv 2411.17772).

    A photo that is not one of this object says so by `pose.converged`, in a warning too, and changes no Gaussian.

    Args:
        gaussians: one set, around the origin.
        image: the photo, sRGB in [0, 1], the object on white.
        mask: 1 on the object.
        view_cameras: [V], that the Gaussians were made from; the search starts from the first.
        view_of: [N], the view that each Gaussian belongs to.
        search: how the pose is found.
        fit: how Gaussians follow.
        lpips: compares photo and render; without it 1 - multi-scale SSIM does.

    Raises:
        ValueError: if the photo cannot be used.
    """
    start = view_cameras[0].resize(*image.shape[-2:])
    pose = find_input_pose(gaussians, image, mask, start, search, lpips)
    if not pose.converged:
        warnings.warn(
            f"no pose shows the photo well: silhouettes overlap by {pose.overlap:.2f}, colours are off by "
            f"{pose.error:.2f}; is it a photo of this object? The Gaussians stay as they are",
            stacklevel=2,
        )
        return InputView(gaussians, pose, pose.error)
    chosen = view_of.to(gaussians.device) == nearest_view(pose.camera, view_cameras)
    fitted = fit_input_view(gaussians, image, mask, pose.camera, chosen, fit, lpips)
    with torch.no_grad():
        photo = ObjectPhoto(image.to(gaussians.means), mask.to(gaussians.means))
        error, _ = agreement(render_on_white(fitted, pose.camera.reshape(1)), photo)
    return InputView(fitted, pose, error)


def fit_input_view(
    gaussians: Gaussians,
    image: Float[Tensor, "3 height width"],
    mask: Float[Tensor, "1 _ _"],
    camera: Cameras,
    chosen: Bool[Tensor, "gaussians"],
    fit: InputViewFit | None = None,
    lpips: LPIPS | None = None,
) -> Gaussians:
    """Add to raw values of some Gaussians what makes all of them look like a photo; the others stay bit for bit.

    Args:
        gaussians: one set.
        image: the photo, sRGB in [0, 1], the object on white.
        mask: 1 on the object.
        camera: of batch shape [], as `find_input_pose` gives it; its image size is that of the photo.
        chosen: which may change.
        fit: everything else.
        lpips: compares photo and render; without it 1 - multi-scale SSIM does.

    Raises:
        ValueError: if the photo cannot be used, or no Gaussian is chosen.
    """
    fit = fit or InputViewFit()
    gaussians = gaussians.detach().validate()
    check_photo(image, mask, camera)
    if chosen.shape != gaussians.opacities.shape or not chosen.any():
        raise ValueError(
            f"{int(chosen.sum())} of {len(chosen)} Gaussians are chosen, of a set of {len(gaussians)}; choose at "
            "least one, by a mask of all"
        )
    photo = ObjectPhoto(image.to(gaussians.means), mask.to(gaussians.means))
    cameras = photo.seen(camera.to(gaussians.device, gaussians.dtype)).reshape(1)
    with torch.enable_grad():
        raw = _raw(gaussians.select(chosen), fit.parts)
        given = {part: values.detach().clone() for part, values in raw.items()}
        rates = {part: fit.means_rate if part == MEANS else fit.rate for part in fit.parts}
        groups = [{"params": [raw[part]], "lr": rates[part]} for part in fit.parts]
        optimizer = torch.optim.Adam(groups, eps=1e-12)
        for _ in range(fit.steps):
            optimizer.zero_grad(set_to_none=True)
            render = render_on_white(_with(gaussians, chosen, raw), cameras)
            added = sum(((raw[part] - given[part]) / rates[part]).square().mean() for part in fit.parts)
            (photo_distance(render, photo, lpips).sum() + fit.prior * added).backward()
            optimizer.step()
    return _with(gaussians, chosen, raw).detach()


def nearest_view(camera: Cameras, view_cameras: Cameras) -> int:
    """Which of cameras [V] looks at the origin from nearest to a camera's [] own direction."""
    return int((F.normalize(view_cameras.centers, dim=-1).to(camera.centers) @ camera.centers).argmax())


def _raw(gaussians: Gaussians, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The values that move, without bounds."""
    values = {
        COLORS: gaussians.colors.clamp(0, 1).logit(eps=1e-3),
        OPACITIES: gaussians.opacity_logits.clamp(-8, 8),
        SCALES: gaussians.log_scales,
        MEANS: gaussians.means,
    }
    return {part: values[part].clone().requires_grad_() for part in parts}


def _with(gaussians: Gaussians, chosen: Tensor, raw: dict[str, Tensor]) -> Gaussians:
    """The Gaussians, the chosen of them with other values."""

    def placed(values: Tensor, inside: Tensor) -> Tensor:
        return values.index_put((chosen,), inside)

    changes = {}
    if COLORS in raw:
        constant = (raw[COLORS].sigmoid() - 0.5) / CONSTANT_HARMONIC
        harmonics = torch.cat([constant[:, None], gaussians.spherical_harmonics[chosen][:, 1:]], dim=1)
        changes["spherical_harmonics"] = placed(gaussians.spherical_harmonics, harmonics)
    if OPACITIES in raw:
        changes["opacities"] = placed(gaussians.opacities, raw[OPACITIES].sigmoid())
    if SCALES in raw:
        changes["scales"] = placed(gaussians.scales, raw[SCALES].exp())
    if MEANS in raw:
        changes["means"] = placed(gaussians.means, raw[MEANS])
    return replace(gaussians, **changes)
