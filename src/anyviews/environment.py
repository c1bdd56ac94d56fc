"""Environment: light that arrives from far away, as an equirectangular picture in linear radiance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Environment:
    """Distant light in the world frame, +Y up.

    The centre of the pixel at column c and row r, with u = (c + 0.5) / W and v = (r + 0.5) / H, is the light that
    arrives from direction (sin(pi v) sin(2 pi u), cos(pi v), -sin(pi v) cos(2 pi u)): the top row is +Y, the middle
    column +Z.

    Args:
        radiance: [3, H, W], linear, in the unit of `Views.radiance`.
    """

    radiance: Float[Tensor, "3 height width"]

    @property
    def height(self) -> int:
        return self.radiance.shape[-2]

    @property
    def width(self) -> int:
        return self.radiance.shape[-1]

    def to(self, device: torch.device | str | None = None) -> "Environment":
        return Environment(self.radiance.to(device))

    def validate(self) -> "Environment":
        """Raise ValueError that says what is unusable; return self otherwise."""
        wrong = ~self.radiance.isfinite() | (self.radiance < 0)
        if wrong.any():
            row, column = (int(i) for i in wrong.any(0).nonzero()[0])
            raise ValueError(
                f"the environment holds {int(wrong.sum())} values that are NaN, infinite or negative, the first at "
                f"row {row}, column {column}; accepted is finite linear radiance of 0 or more"
            )
        if not self.radiance.any():
            raise ValueError("the environment is black everywhere; it lights nothing")
        return self

    def directions(self) -> Float[Tensor, "height width 3"]:
        """The unit world direction that each pixel's light arrives from."""
        v = (torch.arange(self.height, device=self.radiance.device) + 0.5) / self.height * math.pi
        u = (torch.arange(self.width, device=self.radiance.device) + 0.5) / self.width * 2 * math.pi
        v, u = torch.meshgrid(v, u, indexing="ij")
        return torch.stack([v.sin() * u.sin(), v.cos(), -v.sin() * u.cos()], dim=-1)

    def turned(self, turn: Callable[[Tensor], Tensor]) -> "Environment":
        """This light as another world sees it; `turn` maps directions [H, W, 3] of that world to this one's."""
        return Environment(self.look_up(turn(self.directions())).movedim(-1, 0).contiguous())

    def solid_angles(self) -> Float[Tensor, "height width"]:
        """Steradians that each pixel covers; they sum to 4 pi."""
        edges = torch.linspace(0, math.pi, self.height + 1, device=self.radiance.device).cos()
        return ((edges[:-1] - edges[1:]) * 2 * math.pi / self.width)[:, None].expand(self.height, self.width)

    def look_up(self, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Bilinearly interpolated radiance from world directions [*batch, 3] of any length but zero."""
        x, y, z = F.normalize(directions, dim=-1).unbind(-1)
        u = torch.atan2(x, -z) / (2 * math.pi)
        v = torch.acos(y.clamp(-1, 1)) / math.pi
        # one column more on either side, so that interpolation wraps around
        padded = torch.cat([self.radiance[..., -1:], self.radiance, self.radiance[..., :1]], dim=-1)
        column = ((u % 1) * self.width + 1) * 2 / (self.width + 2) - 1
        grid = torch.stack([column, v * 2 - 1], dim=-1).reshape(1, 1, -1, 2)
        looked_up = F.grid_sample(padded[None], grid, padding_mode="border", align_corners=False)
        return looked_up[0, :, 0].mT.reshape(directions.shape)
