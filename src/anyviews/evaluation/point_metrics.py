"""Scores of point clouds and surfaces: accuracy, completeness, Chamfer distance, F-score, normal consistency."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from ..mesh import Mesh
from .score import Fact, Score, check_finite, named


@dataclass(frozen=True)
class NearestPoints:
    """For each point its nearest one in another set.

    Args:
        distances: [N], in world units.
        indices: [N], of the nearest points.
    """

    distances: Float[Tensor, "points"]
    indices: Int[Tensor, "points"]


def nearest_points(points: Float[Tensor, "points 3"], others: Float[Tensor, "others 3"]) -> NearestPoints:
    """Find for each point the nearest of the others, by a KD-tree on the CPU in double precision.

    Raises:
        ValueError: if either set is empty or not finite.
    """
    for name, values in (("points", points), ("other points", others)):
        if len(values) == 0 or not values.isfinite().all():
            raise ValueError(
                f"found {len(values)} {name}, {int(values.isfinite().all(-1).sum())} of them finite; "
                "give at least one, and only finite ones"
            )
    found, wanted = (values.detach().cpu().double().numpy() for values in (points, others))
    distances, indices = cKDTree(wanted).query(found, workers=-1)
    return NearestPoints(torch.from_numpy(distances), torch.from_numpy(indices))


def score_points(
    points: Float[Tensor, "points 3"],
    references: Float[Tensor, "references 3"],
    thresholds: Sequence[float] = (),
    normals: Float[Tensor, "points 3"] | None = None,
    reference_normals: Float[Tensor, "references 3"] | None = None,
    unit: str = "world units",
    **protocol: Fact,
) -> dict[str, Score]:
    """Compare two sets of points that lie in one frame; nothing is aligned or scaled here.

    Args:
        points: [N, 3], predicted.
        references: [M, 3].
        thresholds: of the F-score, in world units.
        normals: [N, 3], unit length, or None.
        reference_normals: [M, 3], unit length, or None.
        unit: the world unit: "m", "object radius" ...
        protocol: what the caller did before: alignment, how points were sampled ...

    Returns:
        "accuracy" and "completeness", mean distances from prediction to reference and back; "chamfer", the mean of the
        two; "chamfer_squared", the mean of the two mean squared distances (half of the sum that PyTorch3D and
        MV-DUSt3R+ report); per threshold "f_score@t", "precision@t", "recall@t"; with both normals
        "normal_consistency", the mean of |cosine| to the normal at the nearest point, over both directions.

    Raises:
        ValueError: if a set is empty or not finite.
    """
    check_finite(normals=normals, reference_normals=reference_normals)
    forward, backward = nearest_points(points, references), nearest_points(references, points)
    accuracy, completeness = (float(nearest.distances.mean()) for nearest in (forward, backward))
    squared = sum(float(nearest.distances.square().mean()) for nearest in (forward, backward)) / 2
    facts = {"points": len(points), "reference_points": len(references), "alignment": "none", **protocol}
    scores = [
        Score("accuracy", accuracy, unit, facts),
        Score("completeness", completeness, unit, facts),
        Score("chamfer", (accuracy + completeness) / 2, unit, facts),
        Score("chamfer_squared", squared, f"{unit}, squared", facts),
    ]
    for threshold in thresholds:
        precision, recall = (float((n.distances < threshold).double().mean()) for n in (forward, backward))
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        values = {"f_score": harmonic, "precision": precision, "recall": recall}
        scores += [Score(f"{name}@{threshold:g}", value, "1", facts) for name, value in values.items()]
    if normals is not None and reference_normals is not None:
        cosines = [
            (normals * reference_normals[forward.indices.to(normals.device)]).sum(-1),
            (reference_normals * normals[backward.indices.to(normals.device)]).sum(-1),
        ]
        consistency = sum(float(cosine.abs().double().mean()) for cosine in cosines) / 2
        scores.append(Score("normal_consistency", consistency, "1", facts))
    return named(*scores)


def surface_points(
    mesh: Mesh, count: int, seed: int = 0
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
    """Points drawn evenly by area from a mesh, and the unit normals of their triangles.

    Args:
        mesh: with at least one triangle.
        count: of points.
        seed: of the draw.
    """
    import trimesh

    mesh.validate()
    vertices, faces = mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy()
    surface = trimesh.Trimesh(vertices, faces, process=False)
    points, triangles = trimesh.sample.sample_surface(surface, count, seed=seed)
    normals = surface.face_normals[triangles]
    return torch.from_numpy(points).to(mesh.vertices), torch.from_numpy(normals).to(mesh.vertices)
