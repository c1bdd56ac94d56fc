"""Light for looking at things where none is given, and light turned to the world it falls into."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...environment import Environment


HEIGHT = 64
# Radiance halfway up and what it gains towards the top.
AMBIENT, SLOPE = 0.55, 0.35
# A lamp above, to the right and in front: radiance and sharpness.
LAMP, SHARPNESS = 9.0, 25.0


def studio_environment(up: Float[Tensor, "3"], front: Float[Tensor, "3"]) -> Environment:
    """A grey room that is brighter above, with a soft lamp; nothing in it says what the light of a photo was.

    Args:
        up: [3], direction of the world.
        front: [3], direction from the object to whoever looks at it first.
    """
    directions = Environment(torch.ones(3, HEIGHT, 2 * HEIGHT)).directions()
    up, front = F.normalize(up.float().cpu(), dim=0), F.normalize(front.float().cpu(), dim=0)
    lamp = F.normalize(1.2 * up + front + 0.8 * torch.linalg.cross(up, front), dim=0)
    radiance = AMBIENT + SLOPE * (directions @ up) + LAMP * ((directions @ lamp - 1) * SHARPNESS).exp()
    return Environment(radiance.expand(3, -1, -1).contiguous())
