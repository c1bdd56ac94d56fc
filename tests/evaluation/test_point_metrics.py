"""Point scores against brute force, and on shapes whose distances are known."""

import math

import pytest
import torch
from hypothesis import given
from strategies import property_settings, seeds

from anyviews.evaluation.point_metrics import nearest_points, score_points, surface_points
from anyviews.mesh import Mesh


@property_settings
@given(seeds)
def test_scores_are_those_of_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    points, references = torch.randn(40, 3, generator=generator), torch.randn(55, 3, generator=generator)
    normals, others = (torch.nn.functional.normalize(torch.randn(n, 3, generator=generator)) for n in (40, 55))
    distances = torch.cdist(points.double(), references.double())
    forward, backward = distances.min(1), distances.min(0)
    scores = {k: s.value for k, s in score_points(points, references, (0.3,), normals, others).items()}
    assert scores["accuracy"] == pytest.approx(forward.values.mean().item())
    assert scores["completeness"] == pytest.approx(backward.values.mean().item())
    assert scores["chamfer"] == pytest.approx((forward.values.mean() + backward.values.mean()).item() / 2)
    squared = (forward.values.square().mean() + backward.values.square().mean()).item() / 2
    assert scores["chamfer_squared"] == pytest.approx(squared)
    precision, recall = ((values < 0.3).double().mean().item() for values in (forward.values, backward.values))
    assert scores["precision@0.3"] == pytest.approx(precision) and scores["recall@0.3"] == pytest.approx(recall)
    harmonic = 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    assert scores["f_score@0.3"] == pytest.approx(harmonic)
    cosines = (normals * others[forward.indices]).sum(-1).abs().mean() + (others * normals[backward.indices]).sum(
        -1
    ).abs().mean()
    assert scores["normal_consistency"] == pytest.approx(cosines.item() / 2, abs=1e-6)


def test_units_and_points_stand_in_the_scores():
    points = torch.rand(5, 3)
    scores = score_points(points, points[:4], (0.1,), unit="m", alignment="similarity")
    assert scores["chamfer"].unit == "m" and scores["chamfer_squared"].unit == "m, squared"
    facts = {"points": 5, "reference_points": 4, "alignment": "similarity"}
    assert all(score.protocol == facts for score in scores.values())
    assert scores["completeness"].value == 0 < scores["accuracy"].value
    assert score_points(points, points + 9, (0.1,))["f_score@0.1"].value == 0


def test_two_spheres():
    """Points of a sphere lie 0.1 from a sphere that is 0.1 larger, less what the sampling leaves open."""
    import trimesh

    balls = [trimesh.creation.icosphere(subdivisions=4, radius=radius) for radius in (1.0, 1.1)]
    meshes = [Mesh(torch.tensor(b.vertices).float(), torch.tensor(b.faces)) for b in balls]
    (small, small_normals), (large, large_normals) = (surface_points(mesh, 20000, seed=1) for mesh in meshes)
    scores = score_points(small, large, (0.08, 0.12), small_normals, large_normals)
    assert scores["chamfer"].value == pytest.approx(0.1, abs=3e-3)
    assert scores["chamfer_squared"].value == pytest.approx(0.01, abs=6e-4)
    assert scores["f_score@0.08"].value == 0 and scores["f_score@0.12"].value > 0.99
    assert scores["normal_consistency"].value > 0.99
    assert torch.equal(surface_points(meshes[0], 50, seed=3)[0], surface_points(meshes[0], 50, seed=3)[0])
    # evenly by area: half of the points on each half
    assert (small[:, 2] > 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert small.norm(dim=-1).mean().item() == pytest.approx(1, abs=2e-3)
    assert math.isclose((small_normals * small).sum(-1).mean().item(), 1, abs_tol=2e-3)


def test_what_has_no_nearest_point_is_refused():
    points = torch.rand(3, 3)
    with pytest.raises(ValueError, match="found 0 other points"):
        nearest_points(points, points[:0])
    with pytest.raises(ValueError, match="found 3 points, 2 of them finite"):
        nearest_points(torch.where(torch.arange(3)[:, None] == 1, torch.nan, points), points)
