"""What all backends agree on."""

from dataclasses import dataclass
from typing import Literal


# A Gaussian does not touch a pixel where its opacity is below this.
MIN_ALPHA = 1 / 255

# A pixel is finished before the Gaussian that would leave no more of the light behind it than this.
MIN_TRANSMITTANCE = 1e-4

# The projection is linearised no farther outside the image than this fraction of its half-width from the border.
LINEARISATION_MARGIN = 0.3

# Side of the tiles of `extent="tiles"` in pixels.
TILE = 16

Extent = Literal["threshold", "tiles"]


@dataclass(frozen=True)
class RasterSettings:
    """How Gaussians become pixels, the same for every backend.

    Args:
        near: Gaussians whose mean is not farther from the camera along its axis are left out.
        far: those whose mean is farther are left out.
        antialiased: whether opacities are lowered for what `blur` adds to a Gaussian's area in the image
            (Yu et al., Mip-Splatting, CVPR 2024).
        blur: variance in pixels squared that is added to every projected Gaussian.
        max_alpha: upper bound of a Gaussian's opacity at a pixel.
        extent: where a Gaussian is seen: "threshold" wherever its opacity reaches 1/255, as in gsplat; "tiles" only in
            the tiles of 16x16 pixels that the square around three of its largest standard deviations touches, as in
            the original implementation.

    Raises:
        ValueError: for values outside these meanings.
    """

    near: float = 0.01
    far: float = 1e10
    antialiased: bool = False
    blur: float = 0.3
    max_alpha: float = 0.999
    extent: Extent = "threshold"

    def __post_init__(self):
        if not 0 < self.near < self.far:
            raise ValueError(f"near is {self.near} and far {self.far}; accepted is 0 < near < far, in world units")
        if not self.blur >= 0:
            raise ValueError(f"blur is {self.blur}; accepted are 0 or more pixels squared")
        if not MIN_ALPHA < self.max_alpha < 1:
            raise ValueError(f"max_alpha is {self.max_alpha}; accepted are numbers between 1/255 and 1")
        if self.extent not in ("threshold", "tiles"):
            raise ValueError(f"extent is {self.extent!r}; accepted are 'threshold' and 'tiles'")
