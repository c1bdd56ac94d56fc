"""Cameras: the only carrier of intrinsics and poses.

Conventions, fixed here for the whole library: OpenCV axes (x right, y down, z forward), camera-to-world poses, and
intrinsics in pixels of the image they belong to, whose pixel centres are at .5 (an image of width W spans [0, W]).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


# Poses read from text files are rounded to about six digits; anything worse than this is not a rotation.
ROTATION_TOLERANCE = 1e-3

# OpenCV (x right, y down, z forward) to OpenGL (x right, y up, z backward), applied on the camera's side of a pose.
OPENCV_TO_OPENGL = (1.0, -1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras with any leading batch dimensions.

    Args:
        intrinsics: [*batch, 3, 3], in pixels of the camera's own image.
        camera_to_world: [*batch, 4, 4], rigid, OpenCV axes.
        image_sizes: [*batch, 2], (height, width) in pixels.

    Raises:
        ValueError: if the leading dimensions of the three differ. Values are checked by `validate`.
    """

    intrinsics: Float[Tensor, "*batch 3 3"]
    camera_to_world: Float[Tensor, "*batch 4 4"]
    image_sizes: Int[Tensor, "*batch 2"]

    def __post_init__(self):
        shapes = {tuple(self.intrinsics.shape[:-2]), tuple(self.camera_to_world.shape[:-2])}
        shapes.add(tuple(self.image_sizes.shape[:-1]))
        if len(shapes) > 1:
            raise ValueError(
                f"leading dimensions differ: intrinsics {tuple(self.intrinsics.shape)}, camera_to_world "
                f"{tuple(self.camera_to_world.shape)}, image_sizes {tuple(self.image_sizes.shape)}"
            )

    @classmethod
    def create(
        cls,
        intrinsics: Float[Tensor, "*batch 3 3"],
        camera_to_world: Float[Tensor, "*batch 4 4"],
        height: int,
        width: int,
    ) -> "Cameras":
        """Build cameras that share one image size (height, width in pixels)."""
        sizes = torch.tensor([height, width], device=intrinsics.device).expand(*intrinsics.shape[:-2], 2)
        return cls(intrinsics, camera_to_world, sizes)

    @classmethod
    def from_world_to_camera(
        cls,
        intrinsics: Float[Tensor, "*batch 3 3"],
        world_to_camera: Float[Tensor, "*batch 4 4"],
        image_sizes: Int[Tensor, "*batch 2"],
    ) -> "Cameras":
        """Build cameras from rigid world-to-camera matrices (COLMAP's direction, OpenCV axes)."""
        return cls(intrinsics, invert_rigid(world_to_camera), image_sizes)

    @classmethod
    def from_opengl(
        cls,
        intrinsics: Float[Tensor, "*batch 3 3"],
        camera_to_world: Float[Tensor, "*batch 4 4"],
        image_sizes: Int[Tensor, "*batch 2"],
    ) -> "Cameras":
        """Build cameras from camera-to-world matrices with OpenGL / Blender / nerfstudio axes (y up, z back)."""
        return cls(intrinsics, camera_to_world * camera_to_world.new_tensor(OPENCV_TO_OPENGL), image_sizes)

    @classmethod
    def stack(cls, cameras: Sequence["Cameras"]) -> "Cameras":
        """Stack cameras of equal batch shape along a new first dimension."""
        return cls(*(torch.stack([getattr(c, name) for c in cameras]) for name in cls.__dataclass_fields__))

    @classmethod
    def cat(cls, cameras: Sequence["Cameras"]) -> "Cameras":
        """Concatenate cameras along their first batch dimension."""
        return cls(*(torch.cat([getattr(c, name) for c in cameras]) for name in cls.__dataclass_fields__))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.intrinsics.shape[:-2])

    @property
    def device(self) -> torch.device:
        return self.intrinsics.device

    @property
    def dtype(self) -> torch.dtype:
        return self.intrinsics.dtype

    @property
    def rotation(self) -> Float[Tensor, "*batch 3 3"]:
        """Camera-to-world rotation."""
        return self.camera_to_world[..., :3, :3]

    @property
    def centers(self) -> Float[Tensor, "*batch 3"]:
        """Camera centres in world coordinates."""
        return self.camera_to_world[..., :3, 3]

    @property
    def world_to_camera(self) -> Float[Tensor, "*batch 4 4"]:
        return invert_rigid(self.camera_to_world)

    @property
    def height(self) -> int:
        """Image height shared by all cameras, in pixels; raises ValueError when they differ."""
        return self._shared_size(0)

    @property
    def width(self) -> int:
        """Image width shared by all cameras, in pixels; raises ValueError when they differ."""
        return self._shared_size(1)

    def _shared_size(self, axis: int) -> int:
        sizes = self.image_sizes[..., axis].unique()
        if len(sizes) != 1:
            raise ValueError(
                f"cameras have {len(sizes)} different image {('heights', 'widths')[axis]}: {sizes.tolist()[:8]}; "
                "resize them to one size first (Views.fit)"
            )
        return int(sizes)

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single camera has no length")
        return self.batch_shape[0]

    def __getitem__(self, index) -> "Cameras":
        """Index the leading dimensions, as a tensor would be."""
        if not self.batch_shape:
            raise IndexError("a single camera cannot be indexed")
        return Cameras(self.intrinsics[index], self.camera_to_world[index], self.image_sizes[index])

    def __iter__(self) -> Iterator["Cameras"]:
        return (self[i] for i in range(len(self)))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Cameras":
        """Move to a device, and cast intrinsics and poses to a floating dtype."""
        return Cameras(
            self.intrinsics.to(device=device, dtype=dtype),
            self.camera_to_world.to(device=device, dtype=dtype),
            self.image_sizes.to(device=device),
        )

    def reshape(self, *batch_shape: int) -> "Cameras":
        """Reshape the leading dimensions."""
        return Cameras(
            self.intrinsics.reshape(*batch_shape, 3, 3),
            self.camera_to_world.reshape(*batch_shape, 4, 4),
            self.image_sizes.reshape(*batch_shape, 2),
        )

    def to_opengl(self) -> Float[Tensor, "*batch 4 4"]:
        """Camera-to-world matrices with OpenGL / Blender / nerfstudio camera axes (y up, z back)."""
        return self.camera_to_world * self.camera_to_world.new_tensor(OPENCV_TO_OPENGL)

    def project(
        self, points: Float[Tensor, "*batch points 3"]
    ) -> tuple[Float[Tensor, "*batch points 2"], Float[Tensor, "*batch points"]]:
        """Project world points.

        Args:
            points: [*batch, N, 3] in world units.

        Returns:
            Pixels [*batch, N, 2] as (x, y), and z-depth [*batch, N]; a point is in front of the camera when its
            depth is positive.
        """
        in_camera = (points - self.centers[..., None, :]) @ self.rotation
        homogeneous = in_camera @ self.intrinsics.mT
        return homogeneous[..., :2] / homogeneous[..., 2:], in_camera[..., 2]

    def unproject(
        self, pixels: Float[Tensor, "*batch points 2"], depth: Float[Tensor, "*batch points"]
    ) -> Float[Tensor, "*batch points 3"]:
        """World points [*batch, N, 3] at z-depth [*batch, N] behind pixels [*batch, N, 2] given as (x, y)."""
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        in_camera = homogeneous @ torch.linalg.inv(self.intrinsics).mT * depth[..., None]
        return in_camera @ self.rotation.mT + self.centers[..., None, :]

    def resize(self, height: int, width: int) -> "Cameras":
        """Intrinsics of the same photos resized to (height, width) pixels."""
        scale = self.intrinsics.new_tensor([width, height]) / self.image_sizes.flip(-1)
        return self.affine(scale, torch.zeros_like(scale), height, width)

    def crop(self, top: float, left: float, height: int, width: int) -> "Cameras":
        """Intrinsics of the window of (height, width) pixels whose upper left corner is at (left, top)."""
        offset = self.intrinsics.new_tensor([-left, -top]).expand(*self.batch_shape, 2)
        return self.affine(torch.ones_like(offset), offset, height, width)

    def affine(
        self, scale: Float[Tensor, "*batch 2"], offset: Float[Tensor, "*batch 2"], height: int, width: int
    ) -> "Cameras":
        """Intrinsics after the pixel map new = old * scale + offset, both as (x, y), into a (height, width) image."""
        pixel_map = torch.diag_embed(torch.cat([scale, torch.ones_like(scale[..., :1])], dim=-1))
        pixel_map[..., :2, 2] = offset
        return Cameras.create(pixel_map @ self.intrinsics, self.camera_to_world, height, width)

    def mirror(self) -> "Cameras":
        """Cameras of the world reflected in the plane x = 0, whose images are flipped left to right."""
        reflection = self.intrinsics.new_tensor([-1.0, 1.0, 1.0, 1.0])
        intrinsics = self.intrinsics.clone()
        intrinsics[..., 0, 2] = self.image_sizes[..., 1] - intrinsics[..., 0, 2]
        # reflecting the world and the camera's own x axis keeps the rotation right-handed; skew changes sign
        intrinsics[..., 0, 1] = -intrinsics[..., 0, 1]
        return Cameras(intrinsics, reflection[:, None] * self.camera_to_world * reflection, self.image_sizes)

    def relative_to(self, reference: "Cameras") -> "Cameras":
        """The same cameras in the coordinate frame of a reference camera (which becomes the identity)."""
        return replace(self, camera_to_world=reference.world_to_camera @ self.camera_to_world)

    def scaled(self, factor: float | Float[Tensor, "*#batch"]) -> "Cameras":
        """The same cameras with the world's unit changed: centres are multiplied by `factor`."""
        factor = torch.as_tensor(factor, device=self.device, dtype=self.dtype)[..., None]
        return replace(self, camera_to_world=rigid(self.rotation, self.centers * factor))

    def validate(self, name: str = "cameras", names: Sequence[str] | None = None) -> "Cameras":
        """Raise ValueError that names the first camera with unusable values; return self otherwise.

        Args:
            name: what to call these cameras in the message.
            names: one label per camera (a file name), for one batch dimension.
        """
        focal = torch.stack([self.intrinsics[..., 0, 0], self.intrinsics[..., 1, 1]], dim=-1)
        identity = torch.eye(3, device=self.device, dtype=self.dtype)
        finite_pose = self.camera_to_world.isfinite().flatten(-2).all(-1)
        orthonormal = (self.rotation.mT @ self.rotation - identity).abs().flatten(-2).amax(-1) < ROTATION_TOLERANCE
        last_row = self.camera_to_world[..., 3, :]
        checks = [
            (
                self.intrinsics.isfinite().flatten(-2).all(-1),
                self.intrinsics,
                "intrinsics hold NaN or infinity; accepted are finite numbers",
            ),
            (finite_pose, self.camera_to_world, "camera_to_world holds NaN or infinity; accepted are finite numbers"),
            ((focal > 0).all(-1), focal, "focal lengths must be positive, in pixels"),
            (
                (self.intrinsics[..., 2, :] - self.intrinsics.new_tensor([0.0, 0.0, 1.0])).abs().amax(-1) < 1e-6,
                self.intrinsics[..., 2, :],
                "the last row of intrinsics must be 0 0 1",
            ),
            ((self.image_sizes > 0).all(-1), self.image_sizes, "image sizes must be positive"),
            (
                (last_row - last_row.new_tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(-1) < 1e-6,
                last_row,
                "the last row of camera_to_world must be 0 0 0 1",
            ),
            (
                orthonormal,
                self.rotation,
                "the rotation in camera_to_world is not orthonormal (a scale or a transposed axis in the pose?)",
            ),
            (
                torch.linalg.det(self.rotation.float()) > 0,
                self.rotation,
                "the rotation in camera_to_world is a mirror (determinant -1); flip one axis",
            ),
        ]
        for accepted, values, message in checks:
            if not accepted.all():
                index = tuple((~accepted).nonzero()[0].tolist())
                label = names[index[0]] if names is not None and len(index) == 1 else f"{name}{list(index)}"
                raise ValueError(f"{label}: {message}; found {values[index].tolist()}")
        return self


def rigid(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Assemble rigid 4x4 matrices from rotations and translations."""
    matrix = torch.zeros(*rotation.shape[:-2], 4, 4, device=rotation.device, dtype=rotation.dtype)
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1
    return matrix


def invert_rigid(matrix: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Invert rigid 4x4 matrices without a linear solve."""
    rotation = matrix[..., :3, :3].mT
    return rigid(rotation, -(rotation @ matrix[..., :3, 3:])[..., 0])
