"""What a refinement moves: the raw parameters of Gaussians, and small corrections of the given cameras."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..cameras import Cameras, rigid
from ..gaussians import Gaussians


@dataclass(frozen=True)
class LearningRates:
    """Step sizes of Adam; those of Gaussians are eight times Kerbl et al.'s, for runs of hundreds of steps.

    Args:
        means: in units of the scene's extent; falls exponentially to `means_final` over the run.
        means_final: in units of the scene's extent.
        rotations: of quaternions.
        log_scales: of the scales' logarithms.
        opacity_logits: of the opacities' logits.
        colors: of the constant harmonic.
        harmonics: of the others, 1/20 of `colors` in the original.
        camera_turns: in radians; falls as that of means does.
        camera_shifts: in units of the scene's extent; falls as that of means does.
        log_focal: of the logarithm of the shared focal factor; falls as that of means does.
    """

    means: float = 1.28e-3
    means_final: float = 1.28e-5
    rotations: float = 8e-3
    log_scales: float = 4e-2
    opacity_logits: float = 0.2
    colors: float = 2e-2
    harmonics: float = 1e-3
    camera_turns: float = 8e-3
    camera_shifts: float = 8e-3
    log_focal: float = 8e-3


# Groups whose rate falls from the first to the last step.
FALLING = ("means", "camera_turns", "camera_shifts", "log_focal")


class SceneParameters(nn.Module):
    """Gaussians and cameras as parameters of an optimiser.

    Args:
        gaussians: one set; where to start.
        cameras: V cameras; where to start.
        extent: a length in world units that steps are measured in.
        near: depth that is too near to be seen, in world units.
        optimize_cameras: whether poses move.
        optimize_intrinsics: whether a factor of all focal lengths moves.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        extent: float,
        near: float,
        optimize_cameras: bool,
        optimize_intrinsics: bool,
    ):
        super().__init__()
        self.given_cameras, self.extent, self.near = cameras, extent, near
        self.means = nn.Parameter(gaussians.means.clone())
        self.rotations = nn.Parameter(gaussians.rotations.clone())
        self.log_scales = nn.Parameter(gaussians.log_scales)
        self.opacity_logits = nn.Parameter(gaussians.opacity_logits)
        self.colors = nn.Parameter(gaussians.spherical_harmonics[:, :1].clone())
        self.harmonics = nn.Parameter(gaussians.spherical_harmonics[:, 1:].clone())
        self.optimize_cameras, self.optimize_intrinsics = optimize_cameras, optimize_intrinsics
        count, zeros = len(cameras) if optimize_cameras else 0, cameras.intrinsics.new_zeros(3)
        # A tensor for each camera: Adam skips those that a step does not see. In one tensor, its averages would take
        # the other cameras' steps for slopes of zero, and throw a camera far off when its turn comes.
        self.camera_turns = nn.ParameterList(zeros.clone() for _ in range(count))
        self.camera_shifts = nn.ParameterList(zeros.clone() for _ in range(count))
        self.log_focal = nn.Parameter(zeros[0].clone(), requires_grad=optimize_intrinsics)

    def gaussians(self) -> Gaussians:
        """The Gaussians as they are now, differentiable."""
        harmonics = torch.cat([self.colors, self.harmonics], dim=1)
        return Gaussians.from_raw(self.means, self.rotations, self.log_scales, self.opacity_logits, harmonics)

    def cameras(self, index: Int[Tensor, "chosen"] | None = None) -> Cameras:
        """Some or all of the cameras as they are now, differentiable; the given ones where nothing of them moves."""
        index = torch.arange(len(self.given_cameras)) if index is None else index
        cameras = self.given_cameras[index]
        if self.optimize_cameras:
            turns, shifts = self.corrections(index)
            # Turned about a point in the scene ahead, so that what is seen there stays in its place. About their own
            # centres, a turn and a shift would do nearly the same to the image: a valley that descent crawls along.
            pivot = cameras.centers.new_tensor([0.0, 0.0, self.extent])
            turn = torch.matrix_exp(cross_matrix(turns))
            offset = pivot - turn @ pivot + self.extent * shifts  # in camera axes
            centers = cameras.centers + (cameras.rotation @ offset[..., None])[..., 0]
            cameras = replace(cameras, camera_to_world=rigid(cameras.rotation @ turn, centers))
        if self.optimize_intrinsics:
            factor = torch.ones_like(cameras.intrinsics[0])
            factor[:2, :2] = self.log_focal.exp()
            cameras = replace(cameras, intrinsics=cameras.intrinsics * factor)
        return cameras

    def corrections(self, index: Int[Tensor, "chosen"]) -> tuple[Float[Tensor, "chosen 3"], Float[Tensor, "chosen 3"]]:
        """Turns in radians and shifts in units of the extent of some of the cameras."""
        turns, shifts = (
            torch.stack([values[i] for i in index.tolist()]) for values in (self.camera_turns, self.camera_shifts)
        )
        return turns, shifts

    def groups(self, rates: LearningRates) -> list[dict]:
        """Parameter groups of an optimiser, named as the parameters are."""
        groups = []
        for field in fields(rates):
            values = getattr(self, field.name, None)
            parameters = [values] if isinstance(values, nn.Parameter) else list(values or [])
            if any(parameter.requires_grad and parameter.numel() for parameter in parameters):
                rate = getattr(rates, field.name) * (self.extent if field.name == "means" else 1)
                groups.append({"name": field.name, "params": parameters, "lr": rate})
        return groups


def cross_matrix(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrices that take the cross product with vectors."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
