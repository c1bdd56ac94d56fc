"""From photos with cameras and masks to what LIRM reads, and the record that leads back to the user's world."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import BaseImageProcessor

from ...color import linear_from_srgb, srgb_from_linear
from ...geometry.rays import camera_rays, pixel_centers
from ...geometry.similarity import Similarity
from ...views import Views
from .framing_lirm import ObjectBounds, find_object
from .processing_lirm import MASK_THRESHOLD, LIRMInputs, crop_inputs, mask_squares, object_frame


BBOX_RADIUS = 0.5
# An object that is darker is brightened by at most this factor.
MOST_GAIN = 10.0
# Medians of brightness that differ by more than this factor are hardly of one exposure; sides of one object that are
# light and dark may differ eightfold.
WILD_EXPOSURES = 16.0
# A photo of whose mask less than this share lies within the object's sphere shows something else.
SAME_OBJECT = 0.5
# Nor can it be the object if it fills less than this share of what the sphere spans in the photo.
SMALLEST_SHARE = 0.1


@dataclass(frozen=True)
class ObjectFrame:
    """What the first photos of an object settle for all that follow: where it is, and how bright.

    Args:
        similarity: the user's world to the object frame.
        gain: the linear light of all photos is multiplied by this, so that a dark object is seen.
        exposure: that photos of known exposure are brought to; None where exposures are not known.
        one_sided: whether the object was seen from one side only, so that its depth is a guess.
    """

    similarity: Similarity
    gain: float = 1.0
    exposure: float | None = None
    one_sided: bool = False

    @property
    def center(self) -> Float[Tensor, "3"]:
        """Of the object, in the user's world."""
        return self.similarity.inverse().translation

    def to_dict(self) -> dict:
        """The same as numbers that JSON holds."""
        return {
            "scale": self.similarity.scale.item(),
            "rotation": self.similarity.rotation.tolist(),
            "translation": self.similarity.translation.tolist(),
            "gain": self.gain,
            "exposure": self.exposure,
            "one_sided": self.one_sided,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "ObjectFrame":
        """Read what `to_dict` gave.

        Raises:
            KeyError: if a value is missing.
        """
        parts = (torch.tensor(values[name], dtype=torch.float32) for name in ("scale", "rotation", "translation"))
        return cls(Similarity(*parts), values["gain"], values["exposure"], values["one_sided"])


class LIRMImageProcessor(BaseImageProcessor):
    """Finds the object, cuts it out of the photos, and puts the cameras' rays into its frame.

    Args:
        size: side of the square images that the model reads, in pixels.
        views_per_step: photos of one update that the checkpoint was trained for.
        brightness_floor: objects whose mean linear light is below this are brightened, at most tenfold; 0 for none.
    """

    model_input_names = ["images", "origins", "directions", "backgrounds"]

    def __init__(self, size: int = 512, views_per_step: int = 6, brightness_floor: float = 0.08, **kwargs):
        super().__init__(**kwargs)
        if size < 1 or views_per_step < 1 or not 0 <= brightness_floor < 1:
            raise ValueError(
                f"size={size} and views_per_step={views_per_step} must be 1 or more, and "
                f"brightness_floor={brightness_floor} from 0 to, not including, 1"
            )
        self.size, self.views_per_step, self.brightness_floor = size, views_per_step, brightness_floor

    def find_frame(
        self,
        views: Views,
        center: Float[Tensor, "3"] | None = None,
        radius: float | None = None,
        exposures: Float[Tensor, "views"] | None = None,
    ) -> ObjectFrame:
        """The frame of an object, whose axes are those of the first camera.

        Args:
            views: photos with cameras and masks.
            center, radius: of a sphere that holds the object, in world units; by default found from the masks.
            exposures: linear brightness of each photo, up to one factor for all (exposure time x ISO / f-number^2).

        Raises:
            ValueError: if one of center and radius is missing, or the masks do not tell where the object is.
        """
        bounds = _given_bounds(views, center, radius)
        if bounds.one_sided:
            warnings.warn(
                f"the {len(views)} photos were taken from one side: how deep the object is, and its back, are guesses"
                "; add photos from other sides",
                stacklevel=3,
            )
        similarity = object_frame(bounds.center, bounds.radius, views.cameras.rotation[0], BBOX_RADIUS)
        exposure = None if exposures is None else float(_checked_exposures(exposures, len(views)).mean())
        factors = torch.ones(len(views)) if exposures is None else exposure / exposures
        light = linear_from_srgb(views.images) * factors.to(views.images)[:, None, None, None]
        inside = (views.masks > MASK_THRESHOLD)[:, 0]
        if exposures is None:
            _warn_about_exposures([values.mean(0)[mask] for values, mask in zip(light, inside, strict=True)])
        mean = float(light.movedim(1, -1)[inside].mean())
        gain = min(max(self.brightness_floor / max(mean, 1e-6), 1.0), MOST_GAIN)
        return ObjectFrame(similarity, gain, exposure, bounds.one_sided)

    def prepare(self, views: Views, frame: ObjectFrame, exposures: Float[Tensor, "views"] | None = None) -> LIRMInputs:
        """Square crops around the object, on white and as they are, with the rays of their pixels.

        Args:
            views: photos with cameras in the user's world, and masks.
            frame: of the object, from its first photos.
            exposures: as of `find_frame`.

        Raises:
            ValueError: if exposures are known of these photos and not of the first ones, or the other way round, or a
                photo cannot show the object of this frame.
        """
        if (exposures is None) != (frame.exposure is None):
            known, unknown = ("first", "these") if exposures is None else ("these", "first")
            raise ValueError(
                f"exposures of the {known} photos are known, and not of the {unknown} ones; give them for all photos "
                "of an object or for none"
            )
        factors = torch.full((len(views),), frame.gain)
        if exposures is not None:
            factors = factors * frame.exposure / _checked_exposures(exposures, len(views))
        images = views.images
        if (factors != 1).any():
            images = srgb_from_linear(linear_from_srgb(images) * factors.to(images)[:, None, None, None])
        cameras = frame.similarity.apply_cameras(views.cameras)
        squares = mask_squares(views.masks)
        self._check_places(views, squares, frame)
        return crop_inputs(images, views.masks, cameras, squares, self.size)

    def undo_gain(self, images: Float[Tensor, "*batch"], frame: ObjectFrame) -> Float[Tensor, "*batch"]:
        """Colours [0, 1] that the model sees as those of the photos, or of their mean exposure."""
        return images if frame.gain == 1 else srgb_from_linear(linear_from_srgb(images.clamp(0, 1)) / frame.gain)

    def _check_places(self, views: Views, squares: Float[Tensor, "views 3"], frame: ObjectFrame) -> None:
        """Raise ValueError for photos of something else; warn of objects that are cut off by the photo's edge."""
        within = _share_in_sphere(views, frame)
        spans = 2 / frame.similarity.scale * BBOX_RADIUS * views.cameras.intrinsics[:, 0, 0]
        spans = spans / (frame.center - views.cameras.centers).norm(dim=-1)
        wrong = (within < SAME_OBJECT) | (squares[:, 2] < SMALLEST_SHARE * spans)
        if wrong.any():
            index = int(wrong.nonzero()[0])
            raise ValueError(
                f"{views.names[index]}: {within[index]:.0%} of the mask lie within the object's sphere, and the mask "
                f"is {squares[index, 2]:.0f} pixels wide where the sphere spans {spans[index]:.0f}; its camera is in "
                "another world than the first photos' (align them first), the mask is of something else, or center "
                "and radius do not hold the object"
            )
        inside = views.masks[:, 0] > MASK_THRESHOLD
        edges = torch.stack([inside[:, 0], inside[:, -1]]).any(0).any(-1) | inside[..., [0, -1]].flatten(1).any(-1)
        if edges.any():
            names = [views.names[i] for i in edges.nonzero().flatten()]
            warnings.warn(
                f"the mask touches the edge of {len(names)} of {len(views)} photos ({', '.join(names[:5])}): what is "
                "cut off there is taken for background; photos that hold all of the object are better",
                stacklevel=4,
            )


def _given_bounds(views: Views, center: Tensor | None, radius: float | None) -> ObjectBounds:
    if (center is None) != (radius is None):
        raise ValueError("center and radius of the object belong together; give both or neither")
    if center is None:
        return find_object(views.masks, views.cameras)
    center = torch.as_tensor(center, dtype=views.cameras.dtype, device=views.cameras.device)
    if not (center.isfinite().all() and 0 < radius < float("inf")):
        raise ValueError(f"center={center.tolist()}, radius={radius}; accepted are a point and a length above 0")
    return ObjectBounds(center, float(radius))


def _checked_exposures(exposures: Tensor, count: int) -> Tensor:
    if exposures.shape != (count,) or not (exposures > 0).all() or not exposures.isfinite().all():
        raise ValueError(
            f"exposures of shape {list(exposures.shape)} between {exposures.min():g} and {exposures.max():g}; "
            f"accepted are {count} numbers above 0, one per photo"
        )
    return exposures


def _warn_about_exposures(brightness: list[Float[Tensor, "_"]]) -> None:
    """Warn of photos whose objects differ more in brightness than light and view explain."""
    medians = torch.stack([values.median() for values in brightness]).clamp(min=1e-4)
    darkest, brightest = int(medians.argmin()), int(medians.argmax())
    if medians[brightest] > WILD_EXPOSURES * medians[darkest]:
        warnings.warn(
            f"the object is {medians[brightest] / medians[darkest]:.0f} times as bright in photo {brightest} as in "
            f"photo {darkest}, counted from 0; where they differ in exposure, give exposures=, one number per photo",
            stacklevel=4,
        )


def _share_in_sphere(views: Views, frame: ObjectFrame) -> Float[Tensor, "views"]:
    """The share of each mask's pixels whose rays meet the sphere around the object."""
    cameras = frame.similarity.apply_cameras(views.cameras)
    pixels = pixel_centers(views.height, views.width, views.images.device)
    shares = []
    for index, mask in enumerate(views.masks[:, 0] > MASK_THRESHOLD):
        origins, directions = camera_rays(cameras[index], pixels[mask])
        ahead = -(origins * directions).sum(-1)
        away = (origins + ahead[:, None] * directions).norm(dim=-1)
        shares.append(((away < BBOX_RADIUS) & (ahead > 0)).float().mean())
    return torch.stack(shares)
