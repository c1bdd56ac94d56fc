"""Views: photos with their cameras, masks and depth, and the record of every crop and resize."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .cameras import Cameras


# Every field that has a value per pixel.
PIXEL_FIELDS = ("images", "masks", "depths", "radiance", "normals", "base_colors", "roughness", "metallic")

# Accepted values of the maps; NaN is outside of every range.
MAP_RANGES = {
    "masks": (0.0, 1.0),
    "radiance": (0.0, torch.finfo(torch.float32).max),
    "normals": (-1.0, 1.0),
    "base_colors": (0.0, 1.0),
    "roughness": (0.0, 1.0),
    "metallic": (0.0, 1.0),
}


@dataclass(frozen=True)
class CropRecord:
    """How the pixels of each view came from its original photo: current = original * scale + offset, as (x, y).

    Args:
        original_sizes: [V, 2], (height, width) of the original photos in pixels.
        scale: [V, 2], current pixels per original pixel.
        offset: [V, 2], in current pixels.
    """

    original_sizes: Int[Tensor, "views 2"]
    scale: Float[Tensor, "views 2"]
    offset: Float[Tensor, "views 2"]

    @classmethod
    def identity(cls, original_sizes: Int[Tensor, "views 2"]) -> "CropRecord":
        """The record of untouched photos."""
        scale = torch.ones(len(original_sizes), 2, device=original_sizes.device)
        return cls(original_sizes, scale, torch.zeros_like(scale))

    def then(self, scale: Float[Tensor, "views 2"], offset: Float[Tensor, "views 2"]) -> "CropRecord":
        """The record after one more map new = current * scale + offset."""
        return replace(self, scale=self.scale * scale, offset=self.offset * scale + offset)

    def to_original(self, pixels: Float[Tensor, "views points 2"]) -> Float[Tensor, "views points 2"]:
        """Map current pixels (x, y) to pixels of the original photos."""
        return (pixels - self.offset[:, None]) / self.scale[:, None]

    def to_current(self, pixels: Float[Tensor, "views points 2"]) -> Float[Tensor, "views points 2"]:
        """Map pixels (x, y) of the original photos to current pixels."""
        return pixels * self.scale[:, None] + self.offset[:, None]

    def __getitem__(self, index) -> "CropRecord":
        return CropRecord(self.original_sizes[index], self.scale[index], self.offset[index])


@dataclass(frozen=True)
class Views:
    """Photos of one scene or object, all of one size.

    Args:
        images: [V, 3, H, W], sRGB in [0, 1].
        cameras: V cameras of these images (not of the original photos), or None for unposed photos.
        masks: [V, 1, H, W] in [0, 1], 1 on the object, or None.
        depths: [V, 1, H, W], z-depth in world units, 0 where unknown, or None.
        names: V labels (file names) for messages and exports.
        record: how the images came from the original photos; by default they are the original photos.
        radiance: [V, 3, H, W], the same pictures in linear light and without an upper bound, or None.
        normals: [V, 3, H, W], unit surface normals in the world frame, 0 where unknown, or None.
        base_colors: [V, 3, H, W], base colour of the surface, sRGB in [0, 1], or None.
        roughness: [V, 1, H, W] in [0, 1], the glTF roughness (GGX alpha is its square), or None.
        metallic: [V, 1, H, W] in [0, 1], or None.
    """

    images: Float[Tensor, "views 3 height width"]
    cameras: Cameras | None = None
    masks: Float[Tensor, "views 1 height width"] | None = None
    depths: Float[Tensor, "views 1 height width"] | None = None
    names: tuple[str, ...] = ()
    record: CropRecord | None = None
    radiance: Float[Tensor, "views 3 height width"] | None = None
    normals: Float[Tensor, "views 3 height width"] | None = None
    base_colors: Float[Tensor, "views 3 height width"] | None = None
    roughness: Float[Tensor, "views 1 height width"] | None = None
    metallic: Float[Tensor, "views 1 height width"] | None = None

    def __post_init__(self):
        count = len(self.images)
        if not self.names:
            object.__setattr__(self, "names", tuple(f"view {i}" for i in range(count)))
        if self.record is None:
            sizes = torch.tensor(self.images.shape[-2:]).expand(count, 2)
            object.__setattr__(self, "record", CropRecord.identity(sizes))
        for name in ("cameras", "names", *PIXEL_FIELDS):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise ValueError(f"{count} images but {len(value)} {name}; give one per image")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def height(self) -> int:
        return self.images.shape[-2]

    @property
    def width(self) -> int:
        return self.images.shape[-1]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Views":
        """A selection of views, always with the view dimension kept."""
        index = torch.arange(len(self))[index].reshape(-1)
        return replace(
            self,
            **self._map_pixels(lambda name, values: values[index]),
            cameras=None if self.cameras is None else self.cameras[index],
            names=tuple(self.names[i] for i in index.tolist()),
            record=self.record[index],
        )

    def validate(self) -> "Views":
        """Raise ValueError that names the first unusable image, map or camera; return self otherwise."""
        if len(self) == 0:
            raise ValueError("no images: give at least one view")
        for image, name in zip(self.images, self.names, strict=True):
            if not image.isfinite().all():
                raise ValueError(f"{name}: the image holds NaN or infinity; accepted is sRGB in [0, 1]")
            if image.min() < -1e-3 or image.max() > 1 + 1e-3:
                raise ValueError(
                    f"{name}: image values span [{image.min():.3g}, {image.max():.3g}]; accepted is sRGB in [0, 1] "
                    "(divide 8-bit values by 255)"
                )
        for field, (low, high) in MAP_RANGES.items():
            values = getattr(self, field)
            if values is not None and not ((values >= low - 1e-3) & (values <= high + 1e-3)).all():
                raise ValueError(
                    f"{field} span [{values.min():.3g}, {values.max():.3g}]; accepted are {low:g} to {high:g}"
                )
        if self.cameras is not None:
            self.cameras.validate(names=self.names)
            if (self.cameras.height, self.cameras.width) != (self.height, self.width):
                raise ValueError(
                    f"cameras are for {self.cameras.height}x{self.cameras.width} pixels but the images have "
                    f"{self.height}x{self.width}; use Views.fit or Cameras.resize, which change both"
                )
        return self

    def crop(self, top: int, left: int, height: int, width: int) -> "Views":
        """The window of (height, width) pixels at (top, left) of every view, recorded."""
        if not (0 <= top < top + height <= self.height and 0 <= left < left + width <= self.width):
            raise ValueError(
                f"crop of {height}x{width} at ({top}, {left}) is empty or leaves the {self.height}x{self.width} images"
            )
        window = (..., slice(top, top + height), slice(left, left + width))
        offset = torch.tensor([[-float(left), -float(top)]]).expand(len(self), 2)
        return replace(
            self,
            **self._map_pixels(lambda name, values: values[window]),
            cameras=None if self.cameras is None else self.cameras.crop(top, left, height, width),
            record=self.record.then(torch.ones_like(offset), offset),
        )

    def resize(self, height: int, width: int) -> "Views":
        """Every view resized to (height, width), recorded: with anti-aliasing, but depth to the nearest sample."""
        scale = torch.tensor([[width / self.width, height / self.height]]).expand(len(self), 2)
        size = (height, width)

        def resized(name: str, values: Tensor) -> Tensor:
            if name == "depths":
                # averaging depth over an edge would invent surfaces in the air
                return F.interpolate(values, size, mode="nearest-exact")
            values = F.interpolate(values, size, mode="bilinear", antialias=True, align_corners=False)
            return F.normalize(values, dim=1) if name == "normals" else values

        return replace(
            self,
            **self._map_pixels(resized),
            cameras=None if self.cameras is None else self.cameras.resize(height, width),
            record=self.record.then(scale, torch.zeros_like(scale)),
        )

    def fit(self, height: int, width: int) -> "Views":
        """Crop the largest centred window of the aspect ratio of (height, width), then resize it to that size."""
        aspect = width / height
        crop_width = min(self.width, max(1, round(self.height * aspect)))
        crop_height = min(self.height, max(1, round(self.width / aspect)))
        top, left = (self.height - crop_height) // 2, (self.width - crop_width) // 2
        return self.crop(top, left, crop_height, crop_width).resize(height, width)

    def mirror(self) -> "Views":
        """The mirrored world: images flipped left to right, and cameras reflected in the plane x = 0 to match.

        Raises:
            ValueError: if these views were cropped or resized; the record cannot hold a reflection.
        """
        identity = CropRecord.identity(self.record.original_sizes)
        if not (torch.equal(self.record.scale, identity.scale) and torch.equal(self.record.offset, identity.offset)):
            raise ValueError("mirror the original photos, before crop, resize or fit")

        def flipped(name: str, values: Tensor) -> Tensor:
            values = values.flip(-1)
            return values * values.new_tensor([-1, 1, 1])[:, None, None] if name == "normals" else values

        return replace(
            self, **self._map_pixels(flipped), cameras=None if self.cameras is None else self.cameras.mirror()
        )

    def original_cameras(self) -> Cameras:
        """The cameras in pixels of the original photos (undoes every crop and resize)."""
        if self.cameras is None:
            raise ValueError("these views have no cameras")
        scale, offset = 1 / self.record.scale, -self.record.offset / self.record.scale
        scale, offset = scale.to(self.cameras.intrinsics), offset.to(self.cameras.intrinsics)
        undone = self.cameras.affine(scale, offset, self.height, self.width)
        return replace(undone, image_sizes=self.record.original_sizes.to(self.cameras.device))

    @classmethod
    def cat(cls, views: Sequence["Views"]) -> "Views":
        """Concatenate views of equal image size; a field that any of them lacks is dropped."""

        def joined(name):
            values = [getattr(v, name) for v in views]
            return None if any(value is None for value in values) else torch.cat(values)

        record = CropRecord(
            *(torch.cat([getattr(v.record, name) for v in views]) for name in CropRecord.__dataclass_fields__)
        )
        has_cameras = all(v.cameras is not None for v in views)
        return cls(
            cameras=Cameras.cat([v.cameras for v in views]) if has_cameras else None,
            names=sum((v.names for v in views), ()),
            record=record,
            **{name: joined(name) for name in PIXEL_FIELDS},
        )

    def _map_pixels(self, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor | None]:
        """Every field of pixels by name, changed where it is there."""
        fields = {name: getattr(self, name) for name in PIXEL_FIELDS}
        return {name: None if values is None else change(name, values) for name, values in fields.items()}
