"""The metrics load through `evaluate`, offline, and give the numbers of the functions behind them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from script_modules import load_script
from strategies import random_cameras

from anyviews.evaluation.consistency import score_reprojection
from anyviews.evaluation.depth_metrics import score_depths, score_normals
from anyviews.evaluation.image_metrics import score_images
from anyviews.evaluation.material_metrics import score_base_color, score_material_map
from anyviews.evaluation.mvdust3r_metrics import score_pointmaps
from anyviews.evaluation.point_metrics import score_points
from anyviews.evaluation.pose_metrics import score_cameras
from anyviews.evaluation.stanford_orb import score_orb_images


@pytest.fixture
def load(repository, tmp_path):
    """One of our metrics with a cache of its own; `evaluate.load` itself writes to the user's."""
    evaluate = pytest.importorskip("evaluate")

    def loaded(name: str) -> evaluate.Metric:
        module = load_script(repository / "utils" / "metrics" / name / f"{name}.py")
        (metric,) = (
            value
            for value in vars(module).values()
            if getattr(value, "__module__", None) == name and isinstance(value, type)
        )
        return metric(cache_dir=str(tmp_path))

    return loaded


def test_images(load):
    metric = load("image_scores")
    images, references = (np.random.default_rng(i).integers(0, 256, (3, 24, 30, 3), dtype=np.uint8) for i in (0, 1))
    for i in range(3):
        metric.add_batch(predictions=[images[i]], references=[references[i]])
    result = metric.compute(resize_filter="none")
    tensors = (torch.tensor(values).movedim(-1, 1) / 255 for values in (images, references))
    for name, score in score_images(*tensors).items():
        assert result[name] == pytest.approx(score.value, abs=1e-5)
    assert result["protocols"]["psnr"]["results"] == 3 and result["protocols"]["psnr"]["unit"] == "dB"
    assert result["protocols"]["psnr"]["resize_filter"] == "none"
    with pytest.raises(ValueError, match="not measured alike"):
        metric.compute(predictions=[images[0], images[1, :12]], references=[references[0], references[1, :12]])


def test_depths(load):
    metric, references = load("depth_scores"), 1 + torch.rand(3, 1, 8, 9)
    depths = references * (0.5 + torch.rand(3, 1, 8, 9))
    arguments = {"predictions": depths[:, 0].numpy(), "references": references[:, 0].numpy()}
    result = metric.compute(**arguments, alignment="median", unit="m")
    for name, score in score_depths(depths, references, alignment="median").items():
        assert result[name] == pytest.approx(score.value, abs=1e-6)
    assert result["protocols"]["absrel"]["alignment"] == "median per view"
    assert result["protocols"]["rmse"]["unit"] == "m"


def test_points(load):
    metric, points, references = load("point_scores"), torch.rand(2, 20, 3).double(), torch.rand(2, 30, 3).double()
    arguments = {"predictions": points.numpy(), "references": references.numpy()}
    result = metric.compute(**arguments, thresholds=[0.1])
    single = [score_points(a, b, [0.1]) for a, b in zip(points, references, strict=True)]
    for name in ("chamfer", "chamfer_squared", "f_score@0.1"):
        assert result[name] == pytest.approx(sum(scores[name].value for scores in single) / 2)


def test_cameras(load):
    metric, cameras, references = load("camera_scores"), random_cameras(0, 2, 4), random_cameras(1, 2, 4)
    poses = {"predictions": cameras.camera_to_world.numpy(), "references": references.camera_to_world.numpy()}
    result = metric.compute(**poses)
    single = [score_cameras(cameras[i], references[i]) for i in range(2)]
    for name in ("rre", "rta@30", "maa@30", "auc@30", "ate"):
        assert result[name] == pytest.approx(sum(scores[name].value for scores in single) / 2)
    assert "focal_error" not in result


def test_maps(load):
    found, wanted = torch.rand(2, 3, 16, 18), torch.rand(2, 3, 16, 18)
    masks, rough = torch.ones(2, 1, 16, 18), torch.rand(2, 1, 16, 18)
    masks[..., :4] = 0
    expected = score_normals(found[:1], wanted[:1])
    result = load("normal_scores").compute(**both(found[:1], wanted[:1]))
    assert {name: result[name] for name in expected} == pytest.approx({n: s.value for n, s in expected.items()})
    maps = [torch.cat([color, rough, 1 - rough, masks], dim=1) for color in (found, wanted)]
    result = load("material_scores").compute(**both(*maps))
    assert result["base_color_psnr"] == pytest.approx(score_base_color(found, wanted, masks)["base_color_psnr"].value)
    assert result["roughness_mae"] == score_material_map("roughness", rough, rough, masks)["roughness_mae"].value == 0
    for scaled in (True, False):
        result = load("hdr_scores").compute(
            **both(torch.cat([3 * found, masks], 1), torch.cat([3 * wanted, masks], 1)), scaled=scaled
        )
        for name, score in score_orb_images(3 * found, 3 * wanted, masks, scaled).items():
            assert result[name] == pytest.approx(score.value, abs=1e-5)


def both(found: torch.Tensor, wanted: torch.Tensor) -> dict:
    """Maps [V, C, H, W] as `evaluate` takes them."""
    names = ("predictions", "references")
    return {name: values.movedim(1, -1).numpy() for name, values in zip(names, (found, wanted), strict=True)}


def test_pointmaps(load):
    found, wanted = torch.randn(2, 3, 6, 7, 3), torch.randn(2, 3, 6, 7, 3)
    wanted[:, :, 0, 0] = torch.nan
    result = load("pointmap_scores").compute(predictions=found.numpy(), references=wanted.numpy())
    single = [score_pointmaps(a, b, b.isfinite().all(-1)) for a, b in zip(found, wanted, strict=True)]
    for name in ("mvdust3r_nd", "mvdust3r_cd", "mvdust3r_dac@0.5"):
        assert result[name] == pytest.approx(sum(scores[name].value for scores in single) / 2, abs=1e-6)
    assert result["protocols"]["mvdust3r_cd"]["unit"] == "m, squared"


def test_reprojection(load):
    cameras, depths = random_cameras(0, 3, height=6, width=7), 1 + torch.rand(3, 1, 6, 7)
    rows = torch.zeros(1, 3, 7, 4, dtype=torch.float64)
    rows[0, :, :4], rows[0, :, 4:, :3] = cameras.camera_to_world, cameras.intrinsics
    result = load("reprojection_scores").compute(predictions=depths[None, :, 0].numpy(), references=rows.numpy())
    expected = score_reprojection(depths, cameras.to(dtype=torch.float32))
    for name, score in expected.items():
        assert result[name] == pytest.approx(score.value, nan_ok=True)


def test_a_script_of_the_user_loads_the_folders(repository, tmp_path):
    pytest.importorskip("evaluate")
    names = [folder.name for folder in (repository / "utils" / "metrics").iterdir() if folder.name != "point_scores"]
    assert len(names) >= 8
    code = (
        "import evaluate\n"
        f"for name in {[*names, 'point_scores']}:\n"
        f"    metric = evaluate.load({str(repository / 'utils' / 'metrics')!r} + '/' + name)\n"
        "print(metric.compute(predictions=[[[0.0, 0, 0]]], references=[[[0.0, 3, 4]]])['chamfer'])\n"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == 5
