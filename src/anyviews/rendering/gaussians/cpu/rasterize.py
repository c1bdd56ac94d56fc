"""rasterize: red, green, blue, alpha and accumulated depth of 3D Gaussians, with gradients, on the CPU."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ....cameras import Cameras
from ....gaussians import Gaussians
from ..settings import RasterSettings
from .passes import KEPT_BYTES, Rasterizer


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    colors: Float[Tensor, "gaussians 3"] | None,
    settings: RasterSettings,
) -> Float[Tensor, "views 5 height width"]:
    """Red, green and blue in front of black, alpha and accumulated depth of V views of one set of Gaussians."""
    harmonic = colors is None
    features = gaussians.spherical_harmonics if harmonic else colors[:, None]
    single = (gaussians.means, gaussians.rotations, gaussians.scales, gaussians.opacities, features)
    double = (cameras.rotation, cameras.centers, cameras.intrinsics)
    channels = _Rasterize.apply(
        *(values.to("cpu", torch.float32) for values in single),
        *(values.to("cpu", torch.float64) for values in double),
        (cameras.height, cameras.width),
        settings,
        harmonic,
    )
    return channels.to(gaussians.device)


class _Rasterize(torch.autograd.Function):
    """All views at once, so that what they share is converted once and gradients are added up in place."""

    @staticmethod
    def forward(
        ctx, means, rotations, scales, opacities, features, poses, centers, intrinsics, size, settings, harmonic
    ):
        inputs = (means, rotations, scales, opacities, features, poses, centers, intrinsics)
        rasterizer = Rasterizer(_arrays(inputs), size, settings, harmonic)
        differentiable = any(ctx.needs_input_grad)
        out = torch.empty(len(poses), 5, *size)
        frames, held = [], 0
        for view in range(len(poses)):
            frame = rasterizer.forward(view, out[view].numpy())
            if differentiable:
                held += frame.bytes
                frames.append(frame if held <= KEPT_BYTES else frame.without_placement())
        if differentiable:
            ctx.save_for_backward(*inputs)
            ctx.frames, ctx.options = frames, (size, settings, harmonic)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes: Tensor):
        rasterizer = Rasterizer(_arrays(ctx.saved_tensors), *ctx.options)
        slopes = slopes.contiguous().numpy()
        gradients = [np.zeros_like(values) for values in rasterizer.gaussians]
        wanted = rasterizer.features if ctx.needs_input_grad[4] else rasterizer.features[:, :0]
        of_features = np.zeros(wanted.shape, np.float32)
        of_cameras = [
            rasterizer.backward(view, frame, slopes[view], gradients, of_features)
            for view, frame in enumerate(ctx.frames)
        ]
        of_poses, of_centers, of_intrinsics = _camera_gradients(np.stack(of_cameras))
        of_gaussians = [torch.from_numpy(values) for values in gradients]
        of_features = torch.from_numpy(of_features) if ctx.needs_input_grad[4] else None
        return (*of_gaussians, of_features, of_poses, of_centers, of_intrinsics, None, None, None)


def _arrays(tensors: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [values.detach().contiguous().numpy() for values in tensors]


def _camera_gradients(values: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rotations [V, 3, 3], centres [V, 3] and intrinsics [V, 3, 3] from packed ones [V, 17]."""
    values = torch.from_numpy(values)
    intrinsics = values.new_zeros(len(values), 3, 3)
    intrinsics[:, 0] = values[:, 12:15]
    intrinsics[:, 1, 1:] = values[:, 15:]
    return values[:, :9].unflatten(1, (3, 3)), values[:, 9:12], intrinsics
