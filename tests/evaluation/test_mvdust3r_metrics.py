"""The scores of MV-DUSt3R+ equal the numbers that the official code gave for the same inputs."""

import json

import pytest
import torch
from safetensors.torch import load_file
from strategies import random_cameras, random_similarity

from anyviews.cameras import Cameras
from anyviews.evaluation.mvdust3r_metrics import align_pointmaps, score_pointmaps, score_reference_frame_cameras
from anyviews.evaluation.point_metrics import score_points
from anyviews.evaluation.pose_metrics import accuracy_within, mean_average_accuracy, pair_errors
from anyviews.rendering.image_quality import psnr, ssim


@pytest.fixture(scope="module")
def golden(repository):
    folder = repository.parent / "shared" / "golden" / "mvdust3r"
    if not folder.is_dir():
        pytest.skip(f"needs the official numbers in {folder}")
    return folder


@pytest.mark.parametrize("case", ["m1", "m3"])
def test_points_are_scored_as_officially(golden, case):
    tensors = load_file(golden / f"loss_{case}.safetensors")
    values = json.loads((golden / "losses.json").read_text())[case]["values"]
    points, valid = tensors["pred.pts3d"], tensors["norm.valid"].bool()
    poses, world, paths = (
        tensors["gt.camera_pose"],
        tensors["gt.pts3d"],
        points.shape[1] // tensors["gt.pts3d"].shape[1],
    )
    for row in range(points.shape[1]):
        batch, path = divmod(row, paths)
        slots = list(range(len(points)))
        slots[0], slots[path] = path, 0
        reference = torch.linalg.inv(poses[path, batch])
        references = world[slots, batch] @ reference[:3, :3].T + reference[:3, 3]
        mask = valid[:, row]
        found, wanted = align_pointmaps(points[:, row], references, mask)
        torch.testing.assert_close(found[mask], tensors["eval.pred_pts"][:, row][mask], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(wanted[mask], tensors["eval.gt_pts"][:, row][mask], atol=2e-6, rtol=1e-5)
        scores = score_pointmaps(points[:, row], references, mask)
        assert scores["mvdust3r_nd"].value == pytest.approx(values["eval.pts3d_list"][row], abs=1e-6)
        assert scores["mvdust3r_cd"].value == pytest.approx(values["eval.cd_list"][row], abs=1e-6)
        assert scores["mvdust3r_dac@0.2"].value == values["eval.pts3d_0.2_accu_list"][row]
        assert scores["mvdust3r_dac@0.1"].value == values["eval.pts3d_0.1_accu_list"][row]


@pytest.mark.parametrize("case", ["m1", "m3"])
def test_poses_are_scored_as_officially(golden, case):
    tensors = load_file(golden / f"loss_{case}.safetensors")
    for row in range(len(tensors["poseerr.c2w_gt"])):
        found, wanted = (
            Cameras.create(torch.eye(3).expand(len(poses), 3, 3), poses, 24, 32)
            for poses in (tensors["poseerr.c2w_pred"][row], tensors["poseerr.c2w_gt"][row])
        )
        errors = pair_errors(found, wanted, motion="world")
        torch.testing.assert_close(errors.rotation.float(), tensors["poseerr.rot_deg"][row], atol=1e-3, rtol=0)
        torch.testing.assert_close(errors.translation.float(), tensors["poseerr.trans_deg"][row], atol=1e-3, rtol=0)
        official = {name: tensors[f"poseerr.{name}"][row].item() for name in ("RRA15", "RTA15", "mAA30")}
        assert accuracy_within(errors.rotation, 15) == pytest.approx(official["RRA15"])
        assert accuracy_within(errors.translation, 15) == pytest.approx(official["RTA15"])
        assert mean_average_accuracy(errors.larger, 30) == pytest.approx(official["mAA30"])


def test_image_and_chamfer_primitives_are_the_official_ones(golden):
    tensors = load_file(golden / "primitives.safetensors")
    images, references = (((tensors[f"img.{name}"].clamp(-1, 1) + 1) / 2)[None] for name in ("pred", "gt"))
    assert psnr(images, references).item() == pytest.approx(tensors["img.psnr"].item(), abs=1e-4)
    peak = max(float(values.max() - values.min()) for values in (images, references))
    similarity = ssim(images, references, border="reflect", data_range=peak)
    assert similarity.item() == pytest.approx(tensors["img.ssim"].item(), abs=1e-5)
    for a, b, mask, expected in zip(*(tensors[f"cd.{name}"] for name in ("a", "b", "mask", "value")), strict=True):
        scores = score_points(a[mask.bool()], b[mask.bool()])
        assert 2 * scores["chamfer_squared"].value == pytest.approx(expected.item(), rel=1e-5)


def test_scores_on_a_small_scene():
    references = torch.rand(2, 5, 6, 3) + torch.tensor([0.0, 0.0, 2.0])
    valid = torch.rand(2, 5, 6) > 0.3
    assert score_pointmaps(1e-6 * references, references, valid)["mvdust3r_nd"].value < 1e-5
    scores = score_pointmaps(7 * references, references, valid)
    assert scores["mvdust3r_nd"].value < 1e-5 and scores["mvdust3r_cd"].value < 1e-9
    assert scores["mvdust3r_nd"].unit == "m" and scores["mvdust3r_cd"].unit == "m, squared"
    # the unit is the reference's, so that DAc of the same prediction depends on it
    points = references + 0.05 * torch.randn(references.shape)
    near, far = (score_pointmaps(points, unit * references, valid) for unit in (1, 10))
    assert near["mvdust3r_dac@0.2"].value == 1 and far["mvdust3r_dac@0.2"].value == 0
    lost = score_pointmaps(torch.randn(2, 5, 6, 3), 1000 * references, valid)
    assert lost["mvdust3r_nd"].value == 10 == lost["mvdust3r_cd"].value
    valid[1] = False
    assert score_pointmaps(points, references, valid)["mvdust3r_nd"].value < 1
    with pytest.raises(ValueError, match="no pixel is valid"):
        score_pointmaps(points, references, torch.zeros_like(valid))


def test_shares_of_pairs_that_are_off():
    cameras = random_cameras(0, 4)
    same = score_reference_frame_cameras(random_similarity(1).apply_cameras(cameras), cameras)
    assert [score.value for score in same.values()] == [0, 0, 0]
    other = score_reference_frame_cameras(random_cameras(5, 4), cameras)
    assert other["mvdust3r_rre"].value > 0.5 and other["mvdust3r_mae"].value > 0.5
