"""Small things to look at: a textured sphere, a coloured one, points with confidence, photos with depth."""

import math

import torch
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians

from anyviews.cameras import Cameras
from anyviews.mesh import Material, Mesh
from anyviews.scene import PointCloud, Scene


NO_CAMERAS = Cameras(torch.zeros(0, 3, 3), torch.zeros(0, 4, 4), torch.zeros(0, 2, dtype=torch.int64))


def sphere(rings: int = 24) -> Mesh:
    """A unit sphere with normals and texture coordinates, without colours."""
    v, u = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, 2 * rings + 1), indexing="ij")
    polar, around = math.pi * v, 2 * math.pi * u
    directions = [polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()]
    points = torch.stack(directions, dim=-1).flatten(0, 1)
    first = (torch.arange(rings)[:, None] * (2 * rings + 1) + torch.arange(2 * rings)).flatten()
    below = first + 2 * rings + 1
    faces = torch.cat([torch.stack([first, below, first + 1], -1), torch.stack([first + 1, below, below + 1], -1)])
    places = torch.stack([u, v], dim=-1).flatten(0, 1)
    return Mesh(points, faces, vertex_normals=points, texture_coordinates=places)


def checks(size: int = 64) -> Material:
    """A chequered material: orange and blue, rough at the left, metallic in every other band."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    square = ((8 * x // size + 8 * y // size) % 2).float()
    base = torch.stack([0.9 * square + 0.1, torch.full_like(square, 0.3), 0.9 - 0.8 * square])
    return Material(base, (x / size)[None], (4 * y // size % 2)[None].float())


def points(count: int = 3000) -> PointCloud:
    """Points on a sphere, red ones surer than blue ones."""
    generator = torch.Generator().manual_seed(0)
    positions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    sure = torch.rand(count, generator=generator)
    return PointCloud(positions, torch.stack([(sure > 0.5).float(), 0 * sure, (sure <= 0.5).float()], -1), sure)


def everything() -> Scene:
    """Gaussians, a mesh, points, and cameras with photos and depth."""
    cameras = orbit_cameras(3, 48, 64)
    generator = torch.Generator().manual_seed(0)
    return Scene(
        cameras,
        torch.rand(3, 3, 48, 64, generator=generator),
        1 + torch.rand(3, 1, 48, 64, generator=generator),
        points=points(),
        gaussians=random_gaussians(0, 300, degree=1),
        mesh=sphere(),
    )
