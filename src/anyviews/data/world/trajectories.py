"""Camera poses of random scenes: walks and scattered positions in rooms."""

import torch
from jaxtyping import Float
from torch import Tensor

from .primitives import Solids
from .uniforms import Uniforms


# Distance in room units that cameras keep from the bounding boxes of solids and from the planes of the room.
MARGIN = 0.3
CANDIDATES = 6


def look_at(
    centers: Float[Tensor, "scenes views 3"],
    targets: Float[Tensor, "scenes views 3"],
    roll: Float[Tensor, "scenes views"],
) -> Float[Tensor, "scenes views 3 3"]:
    """Camera-to-world rotations (OpenCV axes, world y down) that look at targets, rolled about the optical axis."""
    forward = torch.nn.functional.normalize(targets - centers, dim=-1)
    down = forward.new_tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(down, forward), dim=-1)
    down = torch.linalg.cross(forward, right)
    cosine, sine = roll.cos()[..., None], roll.sin()[..., None]
    return torch.stack([cosine * right + sine * down, cosine * down - sine * right, forward], dim=-1)


def clearest(
    candidates: Float[Tensor, "scenes views candidates 3"], solids: Solids
) -> Float[Tensor, "scenes views 3"]:
    """The first of each view's candidate positions that is clear of all solids, else the clearest."""
    count = candidates.shape[2]
    clearance = solids.clearance(candidates.flatten(1, 2)).amin(-1).unflatten(1, (-1, count)).clamp(max=MARGIN)
    order = torch.arange(count, device=candidates.device) * 1e-3
    best = (clearance - order).argmax(-1)[..., None, None].expand(-1, -1, 1, 3)
    return candidates.gather(2, best)[:, :, 0]


def room_cameras(
    uniforms: Uniforms, views: int, room: Float[Tensor, "scenes 3"], solids: Solids
) -> tuple[Float[Tensor, "scenes views 3"], Float[Tensor, "scenes views 3 3"]]:
    """Centres and camera-to-world rotations in a room.

    The scale of the baselines is log-uniform relative to the viewing distance, so that both nearly equal and far
    apart views occur. Half of the scenes are walks with slowly turning gaze, the others scattered positions.
    """
    limits = (room - MARGIN)[:, None, None]
    lift = uniforms.values.new_tensor([1.0, 0.55, 1.0])
    start = uniforms.between(-0.95, 0.95, 1, CANDIDATES, 3) * limits * lift
    start = clearest(start, solids)[:, 0]
    target = -start * uniforms.between(0.3, 1.0, 1) + uniforms.between(-0.45, 0.45, 3) * room
    # slightly downwards, where the furniture stands
    target[:, 1] = 0.5 * target[:, 1] + 0.15 * room[:, 1]
    distance = (target - start).norm(dim=-1)[:, None]
    baseline = uniforms.log_between(0.07, 1.1, 1) * distance

    spread = uniforms.between(-1, 1, views, CANDIDATES, 3) * uniforms.log_between(0.3, 1.2, views, CANDIDATES, 1)
    spread[:, 0] = 0
    # a walk goes along one heading with a sideways curve and the bobbing of steps
    progress = torch.linspace(0, 1, views, device=room.device)[None, :, None]
    heading = uniforms.between(0, 2 * torch.pi, 1, 1)
    curve = uniforms.between(-0.8, 0.8, 1, 1) * progress**2
    sway = uniforms.between(-0.06, 0.06, views, 3)
    walk = 1.4 * torch.cat(
        [
            heading.cos() * progress - heading.sin() * curve,
            0.08 * torch.sin(9 * progress + heading),
            heading.sin() * progress + heading.cos() * curve,
        ],
        dim=-1,
    )
    walks = uniforms.chance(0.5, 1, 1, 1)
    offsets = walks * (walk + sway)[:, :, None] + (1 - walks) * spread
    candidates = start[:, None, None] + offsets * baseline[:, None, None]
    candidates = torch.maximum(torch.minimum(candidates, limits), -limits)
    centers = clearest(candidates, solids)

    jitter = uniforms.between(-1, 1, views, 3) * uniforms.between(0.03, 0.22, 1, 1)
    turn = uniforms.between(-0.35, 0.35, 1, 3) * progress
    gaze = walks[..., 0] * (0.3 * jitter + turn) + (1 - walks[..., 0]) * jitter
    targets = target[:, None] + gaze * distance[:, None]
    roll = uniforms.between(-5, 5, views) * torch.pi / 180
    return centers, look_at(centers, targets, roll)
