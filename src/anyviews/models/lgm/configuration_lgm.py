"""Configuration of LGM (arXiv 2402.05054), and its sizes."""

from typing import no_type_check

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..configuration import check_choices, check_positive, of_size


# "big" is the released model, "small" and "tiny" the authors' other two; "micro" is for training on a CPU.
LGM_SIZES: dict[str, dict] = {
    "micro": {
        "input_size": 64,
        "down_channels": (32, 64, 128, 128),
        "down_attention": (False, False, False, True),
        "up_channels": (128, 128, 64),
        "up_attention": (True, False, False),
        "layers_per_block": 1,
        "num_heads": 4,
        "anchor": "rays",
        "output_size": 64,
    },
    "tiny": {
        "down_channels": (32, 64, 128, 256, 512),
        "down_attention": (False, False, False, False, True),
        "up_channels": (512, 256, 128),
        "up_attention": (True, False, False),
        "output_size": 256,
    },
    "small": {
        "up_channels": (1024, 1024, 512, 256),
        "up_attention": (True, True, True, False),
        "output_size": 256,
    },
    "big": {},
}

# Of every normalisation; fixed, because no released model has another.
NORM_GROUPS = 32


@no_type_check  # strict checks the fields; jaxtyping would refuse the further keywords that every configuration takes
@strict
class LGMConfig(PreTrainedConfig):
    """Configuration of `LGMModel`; the defaults are the released "big" model.

    Args:
        input_size: side of the input images in pixels.
        down_channels: channels of each level, from the input size on; every level but the last ends by halving the
            image.
        down_attention: at which of them all views attend to each other.
        mid_attention: whether they do so in the middle.
        up_channels: channels of each level on the way back; every level but the last ends by doubling the image. Fewer
            than `down_channels` make the map of Gaussians smaller than the image.
        up_attention: at which of them all views attend to each other.
        layers_per_block: residual blocks per level on the way down; there is one more on the way up.
        num_heads: heads of every attention.
        skip_scale: factor of every sum of a branch and its input.
        num_views: input views.
        anchor: what positions are counted from: "origin", as in the released models, or "rays", the point nearest to
            the origin on the ray of each Gaussian's pixel, from where a fresh model learns faster.
        output_size: side of the images that the model was trained to render, in pixels.
        field_of_view: of all cameras, in degrees.
        camera_radius: distance of all cameras from the origin.
        near, far: range of depth in which Gaussians are rendered.

    Raises:
        ValueError: if a value is impossible.
    """

    model_type = "lgm"

    input_size: int = 256
    down_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512, 1024, 1024)
    down_attention: list[bool] | tuple[bool, ...] = (False, False, False, True, True, True)
    mid_attention: bool = True
    up_channels: list[int] | tuple[int, ...] = (1024, 1024, 512, 256, 128)
    up_attention: list[bool] | tuple[bool, ...] = (True, True, True, False, False)
    layers_per_block: int = 2
    num_heads: int = 16
    skip_scale: float = 0.5**0.5
    num_views: int = 4
    anchor: str = "origin"
    output_size: int = 512
    field_of_view: float = 49.1
    camera_radius: float = 1.5
    near: float = 0.5
    far: float = 2.5

    @classmethod
    def from_size(cls, size: str, **overrides) -> "LGMConfig":
        """The configuration of size "micro", "tiny", "small" or "big", with any field overridden."""
        return cls(**of_size(LGM_SIZES, size, overrides))

    @property
    def splat_size(self) -> int:
        """Side of the map of Gaussians of each view."""
        return self.input_size // 2 ** (len(self.down_channels) - 1) * 2 ** (len(self.up_channels) - 1)

    def __post_init__(self, **kwargs):
        check_positive(
            self, ["input_size", "layers_per_block", "num_heads", "num_views", "output_size", "camera_radius"]
        )
        check_choices(self, {"anchor": ("origin", "rays")})
        for name in ("down", "up"):
            channels, attention = getattr(self, f"{name}_channels"), getattr(self, f"{name}_attention")
            if not channels or len(channels) != len(attention):
                raise ValueError(
                    f"{len(channels)} {name}_channels and {len(attention)} {name}_attention were given; give one of "
                    "each per level, at least one"
                )
            odd = [width for width in channels if width % NORM_GROUPS or width % self.num_heads]
            if odd:
                raise ValueError(
                    f"{name}_channels hold {odd}; accepted are multiples of {NORM_GROUPS} (groups of the "
                    f"normalisations) and of num_heads={self.num_heads}"
                )
        if len(self.up_channels) > len(self.down_channels):
            raise ValueError(
                f"{len(self.up_channels)} up_channels but {len(self.down_channels)} down_channels; the way up may not "
                "be longer than the way down"
            )
        if self.input_size % 2 ** (len(self.down_channels) - 1):
            raise ValueError(
                f"input_size={self.input_size} cannot be halved {len(self.down_channels) - 1} times; accepted are "
                f"multiples of {2 ** (len(self.down_channels) - 1)}"
            )
        if not 0 < self.field_of_view < 180:
            raise ValueError(f"field_of_view={self.field_of_view} must lie between 0 and 180 degrees")
        if not 0 < self.near < self.far:
            raise ValueError(f"near={self.near} and far={self.far}; accepted is 0 < near < far")
        super().__post_init__(**kwargs)
