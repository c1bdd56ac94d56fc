"""Depth of the surface that Gaussians show, sharper than their expected depth.

The expected depth of a pixel mixes what is in front with what shines through from behind, and takes each Gaussian for
flat and parallel to the image. On a sphere of flat discs with opacities of 0.3 to 0.95 its error is more than ten
times that of the depth below (tests/rendering/test_gaussian_meshes.py).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import Gaussians
from ...geometry.quaternions import quaternion_to_matrix
from ...geometry.rays import pixel_centers
from ..gaussians import render_gaussians
from .depth_range import inverse_depth_range


# The shortest axis of a Gaussian counts as this part of the longest at least, so that the plane of one that is seen
# from its edge does not run to the camera.
THINNEST = 0.1

# The Gaussians of the surface must cover this much of what all cover.
MIN_COVER = 0.3


def surface_depth(
    gaussians: Gaussians,
    camera: Cameras,
    alpha: Float[Tensor, "1 height width"],
    margin: float,
    backend: str = "auto",
) -> Float[Tensor, "1 height width"]:
    """Depth of the surface of one set of Gaussians in one view, 0 where there is no clear one.

    First the depth that most of a pixel's opacity is nearest to, of the two that have its first three moments. Then
    the Gaussians near that depth alone are rendered, each as the plane of its greatest density along the rays
    (Zhang et al., RaDe-GS, 2024).

    Args:
        gaussians: without batch dimensions.
        camera: of batch shape [1].
        alpha: of these Gaussians in this view.
        margin: how far from the depth of most opacity the surface may reach, in world units.
        backend: of `render_gaussians`.
    """
    if not alpha.any():
        return torch.zeros_like(alpha)
    most = _depth_of_most(gaussians, camera, alpha, backend)
    near = _near(gaussians, camera, most, margin)
    if not near.any():
        return torch.zeros_like(most)
    chosen = gaussians.select(near)
    rendered = render_gaussians(chosen, camera, backend, colors=_planes(chosen, camera))
    pixels = pixel_centers(*most.shape[-2:], most.device, most.dtype)
    x_slope, y_slope, constant = rendered.images[0] / rendered.alphas[0].clamp(min=1e-6)
    inverse = (x_slope * pixels[..., 0] + y_slope * pixels[..., 1] + constant)[None]
    depth = 1 / inverse.clamp(min=torch.finfo(inverse.dtype).tiny)
    clear = (most > 0) & (rendered.alphas[0] > MIN_COVER * alpha) & ((depth - most).abs() <= margin)
    return torch.where(clear, depth, 0)


def _depth_of_most(
    gaussians: Gaussians, camera: Cameras, alpha: Float[Tensor, "1 height width"], backend: str
) -> Float[Tensor, "1 height width"]:
    """The heavier of the two depths that have the first three moments of a pixel's depths; 0 where it is empty."""
    depth = camera[0].project(gaussians.means)[1]
    middle = depth[depth > 0].median() if (depth > 0).any() else depth.new_ones(())
    # from -1 at the camera to 1 far away, so that what is far does not take the precision of what is near
    warped = (depth - middle) / (depth.clamp(min=0) + middle)
    powers = torch.stack([warped, warped**2, warped**3], dim=-1)
    moments = render_gaussians(gaussians, camera, backend, colors=powers).images[0]
    first, second, third = moments / alpha.clamp(min=1e-6)
    variance = (second - first**2).clamp(min=1e-12)
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    # the two-point distribution of this skewness: the heavier point is the one nearer to the mean
    offset = skewness.sign() * (skewness.abs() / 2 - (1 + skewness**2 / 4).sqrt())
    heavier = (first + variance.sqrt() * offset).clamp(-1, 1 - 1e-6)
    return torch.where(alpha > 0, middle * (1 + heavier) / (1 - heavier), 0)


def _near(
    gaussians: Gaussians, camera: Cameras, depth: Float[Tensor, "1 height width"], margin: float
) -> Bool[Tensor, "gaussians"]:
    """Which Gaussians are near a map's depth somewhere within their standard deviation around their middle."""
    height, width = depth.shape[-2:]
    pixels, own = camera[0].project(gaussians.means)
    inside = (own > 0) & ((pixels >= 0) & (pixels < pixels.new_tensor([width, height]))).all(-1)
    focal = camera.intrinsics.diagonal(dim1=-2, dim2=-1)[0, :2].max()
    reach = (focal * gaussians.scales.amax(-1) / own.clamp(min=1e-6)).clamp(max=max(height, width))
    inverse = torch.where(depth > 0, 1 / torch.where(depth > 0, depth, 1), 0)[0]
    # of those beside the image it is not known
    near = ~inside & (own > 0)
    x, y = pixels[inside].unbind(-1)
    nearest, farthest = inverse_depth_range(inverse, x, y, reach[inside])
    own = own[inside]
    near[inside] = (nearest * (own + margin) >= 1) & (farthest * (own - margin) <= 1)
    return near


def _planes(gaussians: Gaussians, camera: Cameras) -> Float[Tensor, "gaussians 3"]:
    """Inverse depth of the plane where each Gaussian is densest along the rays, as an affine function of the pixel."""
    longest = gaussians.scales.amax(-1, keepdim=True).clamp(min=1e-12)
    scales = torch.maximum(gaussians.scales, THINNEST * longest)
    shares = (scales.amin(-1, keepdim=True) / scales) ** 2
    axes = quaternion_to_matrix(gaussians.rotations)
    towards = gaussians.means - camera.centers
    along_axes = (towards[:, None] @ axes)[:, 0]  # [N, 3]
    normals = (axes @ (shares * along_axes)[..., None])[..., 0]
    distance = (normals * towards).sum(-1, keepdim=True)
    in_camera = normals @ camera.rotation[0] / distance.clamp(min=torch.finfo(scales.dtype).tiny)
    return in_camera @ torch.linalg.inv(camera.intrinsics[0])
