"""rasterize: red, green, blue, alpha and accumulated depth of 3D Gaussians, with gradients, on the CPU."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ....cameras import Cameras
from ....gaussians import Gaussians
from ..settings import RasterSettings
from .passes import Rasterizer


# Memory for what the forward pass of all views leaves to the backward pass, beyond the pixels. The projected Gaussians
# of further views are computed again.
KEPT_BYTES = 1 << 28


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
        (cameras.height, cameras.width),
        settings,
        harmonic,
        *(values.to("cpu", torch.float32) for values in single),
        *(values.to("cpu", torch.float64) for values in double),
    )
    return channels.to(gaussians.device)


class _Rasterize(torch.autograd.Function):
    """All views at once, so that what they share is converted once and gradients are added up in place."""

    @staticmethod
    def forward(ctx, size: tuple[int, int], settings: RasterSettings, harmonic: bool, *tensors: Tensor) -> Tensor:
        rasterizer = Rasterizer(_arrays(tensors), size, settings, harmonic)
        views = len(tensors[-1])
        out = torch.empty(views, 5, *size)
        frames, kept = [], 0
        for view in range(views):
            frame = rasterizer.forward(view, out[view].numpy())
            if any(ctx.needs_input_grad):
                kept += frame.placement.bytes
                frames.append(frame if kept <= KEPT_BYTES else replace(frame, placement=None))
        ctx.save_for_backward(*tensors)
        ctx.frames, ctx.options = frames, (size, settings, harmonic)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes: Tensor) -> tuple[Tensor | None, ...]:
        rasterizer = Rasterizer(_arrays(ctx.saved_tensors), *ctx.options)
        slopes = slopes.contiguous().numpy()
        *shapes, features = [values.shape for values in rasterizer.gaussians]
        # harmonics are most of the memory
        wanted = ctx.needs_input_grad[-4]
        shapes.append(features if wanted else (features[0], 0, 3))
        gradients = tuple(np.zeros(shape, np.float32) for shape in shapes)
        of_cameras = [
            rasterizer.backward(view, frame, slopes[view], gradients) for view, frame in enumerate(ctx.frames)
        ]
        *of_gaussians, of_features = [torch.from_numpy(values) for values in gradients]
        of_features = of_features if wanted else None
        return None, None, None, *of_gaussians, of_features, *_camera_gradients(np.stack(of_cameras))


def _arrays(tensors: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [values.detach().contiguous().numpy() for values in tensors]


def _camera_gradients(values: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rotations [V, 3, 3], centres [V, 3] and intrinsics [V, 3, 3] from packed ones [V, 17]."""
    values = torch.from_numpy(values)
    intrinsics = values.new_zeros(len(values), 3, 3)
    intrinsics[:, 0] = values[:, 12:15]
    intrinsics[:, 1, 1:] = values[:, 15:]
    return values[:, :9].unflatten(1, (3, 3)), values[:, 9:12], intrinsics
