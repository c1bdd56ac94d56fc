"""What one depth map says about points in space: how far in front of, or behind, its surface they are."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import pixel_centers


# A pixel's slopes to its two sides disagree when one is steeper than the other this many times, and by more than this
# part of the inverse depth: then the steeper side is an occlusion edge.
STEEPER, STEPPED = 3.0, 0.01

# A surface that is seen at a slant says nothing about points farther behind it along the ray than this many
# truncation distances: the ray may have left the object there.
SLANTED_REACH = 1.5

# A point of the surface may be hidden in the pixels next to it, up to the size of a voxel; not looked for farther.
LARGEST_MARGIN = 16


@dataclass(frozen=True)
class DepthSurface:
    """The tangent plane of each pixel of one depth map, in a table that points in space look up.

    A point's homogeneous pixel is X = K R^T (point - centre); it is X[2] deep and `distance - slope @ X` in front of
    the tangent plane of the pixel that it falls in. The entry behind the last pixel is for points outside the image.

    Args:
        camera: of batch shape [], in double precision.
        inverse_depth: [H, W], 0 where unknown or empty.
        distance: [P + 1], of the camera's centre from the plane, in world units; infinite where the ray is empty.
        slope: [3, P + 1], in world units.
        weight: [P + 1], how much the pixel counts, 0 where its depth is unknown.
        cosine: [P + 1], of the angle between the ray and the plane's normal.
        nearest: [P + 1], inverse depth of the nearest surface in the pixels around.
    """

    camera: Cameras
    inverse_depth: Float[Tensor, "height width"]
    distance: Float[Tensor, "entries"]
    slope: Float[Tensor, "3 entries"]
    weight: Float[Tensor, "entries"]
    cosine: Float[Tensor, "entries"]
    nearest: Float[Tensor, "entries"]

    @classmethod
    def create(
        cls,
        depth: Float[Tensor, "height width"],
        camera: Cameras,
        weight: Float[Tensor, "height width"],
        empty: Bool[Tensor, "height width"],
        voxel_size: float,
    ) -> "DepthSurface":
        """Fit the planes to the slopes of inverse depth, which is linear over the image of a plane.

        Args:
            depth: z-depth in world units, 0 where unknown.
            camera: of batch shape [].
            weight: how much each pixel counts.
            empty: where the ray meets nothing at all.
            voxel_size: of the grid that will be filled; details below it are noise.
        """
        known = (depth > 0) & ~empty
        inverse = torch.where(known, 1 / torch.where(known, depth, 1), 0)
        intrinsics = camera.intrinsics.to(depth)
        margin = _voxel_pixels(inverse, known, intrinsics, voxel_size)
        x_slope = _slope(inverse, known, margin, dim=1)
        y_slope = _slope(inverse, known, margin, dim=0)
        pixels = pixel_centers(*depth.shape, depth.device, depth.dtype)
        constant = inverse - x_slope * pixels[..., 0] - y_slope * pixels[..., 1]

        # the plane n @ x = distance has inverse depth (n / distance) @ ray, the affine function of pixels above
        affine = torch.stack([x_slope, y_slope, constant], dim=-1)
        distance = 1 / (affine @ intrinsics).norm(dim=-1).clamp(min=torch.finfo(depth.dtype).tiny)
        rays = F.pad(pixels, (0, 1), value=1.0) @ torch.linalg.inv(intrinsics).mT
        cosine = torch.where(known, distance * inverse / rays.norm(dim=-1), 1).clamp(max=1)
        nearest = F.max_pool2d(inverse[None], (1, 2 * margin + 1), 1, (0, margin))
        nearest = F.max_pool2d(nearest, (2 * margin + 1, 1), 1, (margin, 0))[0]
        usable = (known | empty) * weight

        def table(values: Tensor, outside: float = 0.0) -> Tensor:
            return F.pad(values.flatten(-2), (0, 1), value=outside)

        return cls(
            camera.to(dtype=torch.float64),
            inverse,
            table(torch.where(known, distance, torch.where(empty, torch.inf, 0))),
            table(torch.where(known, distance * affine.movedim(-1, 0), 0)),
            table(usable),
            table(cosine, outside=1.0),
            table(nearest),
        )

    def project(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "3 points"]:
        """Homogeneous pixels of world points, in the precision of the table."""
        return self.project_steps(points.double() - self.camera.centers)

    def project_steps(self, steps: Float[Tensor, "points 3"]) -> Float[Tensor, "3 points"]:
        """What steps in the world add to homogeneous pixels, in the precision of the table."""
        to_pixels = self.camera.intrinsics @ self.camera.rotation.mT
        return (to_pixels @ steps.double().mT).to(self.distance)

    def entries(self, pixels: Float[Tensor, "3 points"]) -> Int[Tensor, "points"]:
        """Where in the table homogeneous pixels are looked up."""
        height, width = self.inverse_depth.shape
        scale = pixels[2].clamp(min=1e-12).reciprocal_()
        # clamped before they become integers, which do not hold every float
        x = (pixels[0] * scale).floor_().clamp_(-1, width)
        y = (pixels[1] * scale).floor_().clamp_(-1, height)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (pixels[2] > 0)
        outside = height * width
        entry = y.long().mul_(width).add_(x.long())
        return entry.sub_(outside).mul_(inside).add_(outside)

    def signed_distance(
        self, pixels: Float[Tensor, "3 points"], entries: Int[Tensor, "points"]
    ) -> Float[Tensor, "points"]:
        """Distance from the tangent planes, positive in front of them."""
        distance = self.distance.index_select(0, entries)
        for slope, pixel in zip(self.slope, pixels, strict=True):
            distance.addcmul_(slope.index_select(0, entries), pixel, value=-1)
        return distance

    def vote(
        self, pixels: Float[Tensor, "3 points"], truncation: float
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points"], Float[Tensor, "points"]]:
        """What the depth map says about points.

        The weight of a distance is the cosine of the angle under which the surface is seen (Curless & Levoy, SIGGRAPH
        1996, section 3.1). It falls to 0 half a truncation distance behind the surface, so that the two sides of a
        thin plate do not disturb each other.

        Beside an occlusion edge, a pixel may see past a surface that the point belongs to, and free space right there
        would make a wall from the edge backwards. Such free space is in doubt: it has no weight.

        Args:
            pixels: [3, N], homogeneous.
            truncation: in world units.

        Returns:
            Signed distances over the truncation distance, at most 1; their weights; weights of doubtful free space.
        """
        entries = self.entries(pixels)
        distance = self.signed_distance(pixels, entries).mul_(1 / truncation)
        cosine = self.cosine.index_select(0, entries)
        reach = (SLANTED_REACH * cosine).clamp_(max=0.5)
        weight = self.weight.index_select(0, entries).mul_(cosine)
        weight.mul_((distance / reach).add_(1).clamp_(0, 1))
        behind_edge = self.nearest.index_select(0, entries).mul_(pixels[2]) >= 1
        doubt = weight * (behind_edge & (distance >= 1))
        return distance.clamp_(max=1), weight.sub_(doubt), doubt


def _voxel_pixels(inverse: Tensor, known: Tensor, intrinsics: Tensor, voxel_size: float) -> int:
    """How many pixels the diagonal of a voxel covers where the surface is near."""
    if not known.any():
        return 1
    values = inverse[known]
    near = values.kthvalue(1 + int(0.9 * (len(values) - 1))).values
    focal = intrinsics.diagonal()[:2].max()
    return int((1.75 * voxel_size * focal * near).ceil().clamp(1, LARGEST_MARGIN))


def _slope(
    inverse: Float[Tensor, "height width"], known: Bool[Tensor, "height width"], step: int, dim: int
) -> Float[Tensor, "height width"]:
    """Slope of inverse depth per pixel along one axis, of the side that is not across an occlusion edge."""
    size = inverse.shape[dim]
    step = min(step, max(1, size // 4))
    count = size - step
    rise = (inverse.narrow(dim, step, count) - inverse.narrow(dim, 0, count)) / step
    pair = known.narrow(dim, step, count) & known.narrow(dim, 0, count)
    missing = (0, step) if dim == 1 else (0, 0, 0, step)
    after, has_after = F.pad(rise * pair, missing), F.pad(pair, missing)
    missing = (*missing[:-2], step, 0)
    before, has_before = F.pad(rise * pair, missing), F.pad(pair, missing)

    smaller = torch.where(after.abs() < before.abs(), after, before)
    larger = torch.where(after.abs() < before.abs(), before, after)
    edge = (larger - smaller).abs() * step > (STEEPER - 1) * smaller.abs() * step + STEPPED * inverse
    both = torch.where(edge, smaller, (after + before) / 2)
    return torch.where(has_after & has_before, both, after + before)
