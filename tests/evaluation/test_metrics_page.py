"""docs/metrics.md has a row for every score that a function returns."""

import re
from pathlib import Path

import torch
from strategies import random_cameras

from anyviews.evaluation.consistency import score_reprojection
from anyviews.evaluation.depth_metrics import score_depths, score_normals
from anyviews.evaluation.image_metrics import score_images
from anyviews.evaluation.material_metrics import score_base_color, score_material_map
from anyviews.evaluation.mvdust3r_metrics import score_pointmaps, score_reference_frame_cameras
from anyviews.evaluation.point_metrics import score_points
from anyviews.evaluation.pose_metrics import score_cameras
from anyviews.evaluation.stanford_orb import (
    score_orb_base_color,
    score_orb_depths,
    score_orb_images,
    score_orb_shape,
)


def returned_names() -> set[str]:
    images, depths, points = torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16) + 1, torch.rand(9, 3)
    masks, cameras, pointmaps = torch.ones(2, 1, 16, 16), random_cameras(0, 3), torch.rand(2, 4, 5, 3)
    results = [
        score_images(images, images),
        score_depths(depths, depths),
        score_normals(images, images),
        score_points(points, points, (0.1,), points, points),
        score_cameras(cameras, cameras, thresholds=(5,)),
        score_reprojection(depths.double(), random_cameras(0, 2, height=16, width=16), (0.05,)),
        score_base_color(images, images, masks),
        score_material_map("roughness", depths, depths, masks),
        score_orb_images(images, images, masks, scaled=True),
        score_orb_base_color(images, images, masks),
        score_pointmaps(pointmaps, pointmaps, torch.ones(2, 4, 5, dtype=torch.bool)),
        score_reference_frame_cameras(cameras, cameras),
    ]
    single = [score_orb_depths(depths, depths, masks), score_orb_shape(points, points)]
    return {name for result in results for name in result} | {score.name for score in single} | {"tsed", "lpips"}


def documented(page: str) -> set[str]:
    """Names in the first column of the table; `_median` and `^2` go on from the name before them."""
    names = set()
    for line in page.splitlines():
        if line.startswith("| `"):
            listed = re.findall(r"`([^`]+)`", line.split("|")[1])
            starts = {"^": listed[0], "_": listed[0].rsplit("_", 1)[0]}
            names.update(starts.get(name[0], "") + name for name in listed)
    return names


def test_every_score_has_a_row(repository: Path):
    known = documented((repository / "docs" / "metrics.md").read_text(encoding="utf-8"))
    patterns = [re.escape(name).replace(r"\.\.\.", r"\w+") for name in known]
    found = {re.sub(r"@\d.*", "@t", re.sub(r"within_\d.*", "within_t", name)) for name in returned_names()}
    missing = {name for name in found if not any(re.fullmatch(pattern, name) for pattern in patterns)}
    assert not missing, f"docs/metrics.md has no row for {sorted(missing)}"
