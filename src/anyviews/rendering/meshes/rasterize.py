"""rasterize: which triangle each pixel shows, and where on it; on the CPU, by compiled loops over a z-buffer."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cameras import Cameras
from ...mesh import Mesh


# The near plane by default, in diagonals of the mesh's bounding box.
NEAR = 1e-4
# Rows that one thread fills at a time.
ROWS = 64
# Boxes around triangles are widened by this part of a pixel, more than rounding moves them.
ROUNDING = 1e-6


@dataclass(frozen=True)
class MeshFragments:
    """What the pixels' centres show.

    Args:
        faces: [V, H, W], index of the face, -1 where there is none.
        barycentrics: [V, H, W, 3], weights of the face's three corners in world space; they sum to 1.
        depths: [V, 1, H, W], z-depth in world units, 0 where there is no face.
    """

    faces: Int[Tensor, "views height width"]
    barycentrics: Float[Tensor, "views height width 3"]
    depths: Float[Tensor, "views 1 height width"]

    @property
    def masks(self) -> Float[Tensor, "views 1 height width"]:
        """[V, 1, H, W], 1 where there is a face."""
        return (self.faces >= 0)[:, None].to(self.depths)

    def interpolate(self, values: Float[Tensor, "vertices channels"], mesh: Mesh) -> Float[Tensor, "pixels channels"]:
        """Values of vertices at the covered pixels, in the order of `faces[faces >= 0]`."""
        covered = self.faces >= 0
        corners = values[mesh.faces[self.faces[covered]]]  # [pixels, 3, channels]
        return (corners * self.barycentrics[covered][..., None]).sum(-2)


@torch.no_grad()
def rasterize(mesh: Mesh, cameras: Cameras, near: float | None = None) -> MeshFragments:
    """Find the nearest face at every pixel's centre; both sides of a face are seen. There are no gradients.

    The result depends on neither the number of threads nor the run. A pixel on an edge between faces shows one of
    them, and where several are equally near the first.

    Args:
        mesh: a valid mesh.
        cameras: [V], of one image size.
        near: z-depth below which nothing is seen, or None for 1e-4 of the diagonal of the mesh's bounding box.

    Raises:
        ValueError: if the mesh, the cameras or `near` are not valid.
    """
    mesh.validate()
    cameras.validate()
    if len(cameras.batch_shape) != 1 or len(cameras) == 0:
        raise ValueError(
            f"the cameras have batch shape {cameras.batch_shape}; accepted is [V], at least one, as cameras.reshape(1)"
        )
    vertices = mesh.vertices.detach().cpu().double()
    if near is None:
        near = NEAR * float((vertices.amax(0) - vertices.amin(0)).norm()) or NEAR
    if not 0 < near < float("inf"):
        raise ValueError(f"near is {near}; accepted are positive z-depths in world units")
    faces = mesh.faces.cpu().numpy()
    shown = [
        _image(homogeneous_pixels(vertices, camera).numpy()[faces], (cameras.height, cameras.width), near)
        for camera in cameras.to("cpu", torch.float64)
    ]
    return _fragments(shown, mesh.vertices.device)


@torch.no_grad()
def rasterize_texture(mesh: Mesh, size: int) -> MeshFragments:
    """Find which face the centre of every texel of a square texture lies on; V is 1 and depths are all 1.

    Args:
        mesh: with texture coordinates in [0, 1].
        size: of the texture, in texels.
    """
    places = mesh.texture_coordinates.detach().cpu().double() * size
    flat = torch.cat([places, torch.ones_like(places[:, :1])], dim=-1).numpy()
    shown = _image(flat[mesh.faces.cpu().numpy()], (size, size), near=0.5)
    return _fragments([shown], mesh.vertices.device)


def homogeneous_pixels(vertices: Float[Tensor, "vertices 3"], camera: Cameras) -> Float[Tensor, "vertices 3"]:
    """Pixels (x, y) times z-depth, and z-depth, of world points seen by one camera of batch shape []."""
    return (vertices - camera.centers) @ camera.rotation @ camera.intrinsics.mT


def edge_functions(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of triangles with homogeneous corners [F, 3, 3]: edge functions [F, 3, 3] and inverse depth [F, 3].

    Both are linear in (x, y, 1); seen edge-on, a triangle has an inverse depth of 0. Neighbours get exactly opposite
    functions for the edge they share.
    """
    edges = np.cross(corners[:, [1, 2, 0]], corners[:, [2, 0, 1]])
    volume = (corners[:, 0] * edges[:, 0]).sum(-1)
    edges = edges * np.where(volume < 0, -1.0, 1.0)[:, None, None]
    volume = np.abs(volume)
    inverse = np.divide(1, volume, out=np.zeros_like(volume), where=volume > 0)
    return edges, edges.sum(1) * inverse[:, None]


Shown = tuple[np.ndarray, np.ndarray, np.ndarray]


def _image(corners: np.ndarray, size: tuple[int, int], near: float) -> Shown:
    """Faces, barycentric coordinates and depths of one image of triangles [F, 3, 3] in homogeneous pixels."""
    # compiles at first use
    from ..gaussians.cpu.workers import equal_ranges, run
    from .kernels import fill_rows, resolve_rows

    edges, planes = edge_functions(corners)
    boxes = _boxes(corners, size, near)
    visible = ((boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3]) & planes.any(axis=1)).nonzero()[0]
    edges, planes, boxes = edges[visible], planes[visible], boxes[visible]
    faces, inverse_depths = np.full(size, -1, np.int32), np.zeros(size)
    barycentrics, depths = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    ranges = equal_ranges(size[0], ROWS)
    run(fill_rows, ranges, edges, planes, boxes, 1 / near, inverse_depths, faces)
    run(resolve_rows, ranges, edges, faces, inverse_depths, barycentrics, depths)
    indices = np.append(visible, -1)[faces]
    return indices, barycentrics, depths


def _boxes(corners: np.ndarray, size: tuple[int, int], near: float) -> np.ndarray:
    """Columns and rows [F, 4] whose pixels' centres triangles may cover; of the part behind the near plane."""
    depth = corners[..., 2]
    ahead, behind = corners, np.roll(corners, -1, axis=1)
    # corners, and where edges pass through the near plane
    step = behind[..., 2] - depth
    crossing = (depth < near) != (behind[..., 2] < near)
    part = np.divide(near - depth, step, out=np.zeros_like(step), where=crossing)[..., None]
    points = np.concatenate([corners, ahead + part * (behind - ahead)], axis=1)
    valid = np.concatenate([depth >= near, crossing], axis=1)[..., None]
    scale = np.where(valid, points[..., 2:], 1)
    pixels = points[..., :2] / scale
    low = np.where(valid, pixels, np.inf).min(axis=1)
    high = np.where(valid, pixels, -np.inf).max(axis=1)
    limits = np.array(size[::-1])
    first = np.ceil(np.clip(low - 0.5 - ROUNDING, 0, limits))
    last = np.floor(np.clip(high - 0.5 + ROUNDING, -1, limits - 1)) + 1
    return np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1).astype(np.int32)


def _fragments(shown: list[Shown], device: torch.device) -> MeshFragments:
    faces, barycentrics, depths = (
        torch.from_numpy(np.stack(images)).to(device) for images in zip(*shown, strict=True)
    )
    return MeshFragments(faces, barycentrics, depths[:, None])
