"""LIRM under `anyviews eval`: all rows of all tables, from procedural objects and from a capture of Stanford-ORB."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from anyviews.data.world import render_world
from anyviews.environment import Environment
from anyviews.evaluation.case import Case, CaseResult
from anyviews.evaluation.methods import evaluation_method
from anyviews.evaluation.methods.lirm import evaluate, image_size, scaled_psnr
from anyviews.evaluation.protocols import find_protocol
from anyviews.evaluation.protocols.object_sources import StanfordORBCaptures
from anyviews.evaluation.protocols.sources import Need
from anyviews.models.lirm import LIRMImageProcessor, LIRMModel
from anyviews.pipelines.pipeline_lirm import LIRMPipeline
from anyviews.views import Views


SIZE = 32
OBJECT = 41


@pytest.fixture(scope="module")
def pipe() -> LIRMPipeline:
    """A network that shows the visual hull in the photos' colours."""
    torch.manual_seed(0)
    tiny = {"num_hidden_layers": 1, "plane_token_size": 4, "sdf_inv_std": 200.0, "num_samples": 192}
    pipe = LIRMPipeline(LIRMModel.from_size("tiny", image_size=SIZE, **tiny).eval(), LIRMImageProcessor(SIZE, 4))
    torch.nn.init.zeros_(pipe.model.decoders.heads["sdf"].last.weight)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def rendered(environments: list[Environment] | None = None) -> tuple[Views, Environment]:
    options = {} if environments is None else {"environments": environments}
    world = render_world(torch.tensor([OBJECT]), 12, SIZE, SIZE, kind="object", samples=1, maps=True, **options)
    return world.scene(0), world.environment(0)


@pytest.fixture(scope="module")
def case() -> Case:
    views, light = rendered()
    other = Environment(light.radiance.roll(light.radiance.shape[-1] // 2, -1).flip(0) * 1.5)
    relit, second = rendered([other])
    return Case("object-41", 0, views[:8], views[8:], light, relit[8:], second)


@pytest.fixture(scope="module")
def result(pipe, case) -> CaseResult:
    return evaluate(pipe, case, find_protocol("lirm", "procedural"))


def test_every_row_has_the_scores_of_its_table(pipe, result):
    protocol = find_protocol("lirm", "procedural")
    assert evaluation_method("lirm").MODEL is LIRMPipeline and image_size(pipe) == SIZE
    found = {(row.table, row.variant): row.scores for row in result.rows}
    assert len(found) == len(result.rows) == 10
    for (table, _), scores in found.items():
        assert set(scores) == set(protocol.table(table).metrics)
    quality = {variant: scores for (table, variant), scores in found.items() if table == "quality"}
    assert list(quality) == ["nearest view", "mean colour", "1 set", "2 sets"]
    assert quality["2 sets"]["psnr"] > max(quality["nearest view"]["psnr"], quality["mean colour"]["psnr"])
    assert quality["2 sets"]["mask_iou"] > 0.6 and quality["2 sets"]["depth"] < 0.5
    assert all(math.isfinite(value) for value in quality["2 sets"].values())
    own = {variant: scores["psnr"] for (table, variant), scores in found.items() if table == "photos"}
    assert own["photos of set 2, 2 sets read"] > own["photos of set 2, 1 set read"]
    assert {variant for table, variant in found if table == "relight"} == {"unrelit radiance", "relit mesh"}
    assert all(images.isfinite().all() and images.ndim == 4 for images in result.pictures.values())


def test_cases_without_maps_or_second_light_have_the_same_rows(pipe, case, result):
    protocol = find_protocol("lirm", "procedural")
    bare = {"depths": None, "normals": None, "base_colors": None, "roughness": None, "metallic": None}
    poor = replace(case, targets=replace(case.targets, **bare), relit=None, relit_environment=None)
    rows = evaluate(pipe, poor, protocol).rows
    assert [(row.table, row.variant) for row in rows] == [(row.table, row.variant) for row in result.rows]
    scores = {(row.table, row.variant): row.scores for row in rows}
    assert math.isnan(scores["quality", "1 set"]["roughness"]) and math.isfinite(scores["quality", "1 set"]["psnr"])
    assert all(math.isnan(value) for value in scores["relight", "relit mesh"].values())
    with pytest.raises(ValueError, match="has no masks"):
        evaluate(pipe, replace(case, targets=replace(case.targets, masks=None)), protocol)


def test_light_of_another_colour_costs_nothing_once_scaled(case):
    truth = replace(case.targets, images=case.targets.images * case.targets.masks + 1 - case.targets.masks)
    dimmed = ((truth.images.clamp(min=0) ** 2.2) * torch.tensor([0.7, 0.5, 0.9]).view(3, 1, 1)) ** (1 / 2.2)
    assert scaled_psnr(truth.images, truth) > 60
    assert scaled_psnr(dimmed, truth) > 28


def write_orb(folder, capture: str, views: Views, light: Environment, split: str) -> list[dict]:
    """Part of a capture in the layout of Stanford-ORB, in 8 bits."""
    images = folder / "blender_LDR" / capture
    for name in (split, f"{split}_mask"):
        (images / name).mkdir(parents=True, exist_ok=True)
    truth = folder / "ground_truth" / capture
    for name in ("env_map", "z_depth", "surface_normal"):
        (truth / name).mkdir(parents=True, exist_ok=True)
    frames = []
    matrices = views.cameras.to_opengl()
    for index, matrix in enumerate(matrices):
        stem = f"{index:04d}"
        picture = (views.images[index].movedim(0, -1).clamp(0, 1) * 255).round().byte().numpy()
        Image.fromarray(picture).save(images / split / f"{stem}.png")
        mask = (views.masks[index, 0] * 255).round().byte().numpy()
        Image.fromarray(mask).save(images / f"{split}_mask" / f"{stem}.png")
        frames.append({"file_path": f"{split}/{stem}", "transform_matrix": matrix.tolist()})
        if split == "test":
            np.save(truth / "z_depth" / f"{stem}.npy", views.depths[index, 0].numpy())
            # the map's forward direction is that of the camera
            write_camera_light(light, matrix[:3, :3], truth / "env_map" / f"{stem}.exr")
    focal = float(views.cameras.intrinsics[0, 0, 0])
    angle = 2 * math.atan(views.width / 2 / focal)
    path = images / f"transforms_{split}.json"
    path.write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return [{**frame, "camera_angle_x": angle} for frame in frames]


def write_camera_light(light: Environment, rotation: torch.Tensor, path) -> None:
    """A map of 16 x 32 directions in the frame of a camera with x right, y up, looking along -z."""
    OpenEXR = pytest.importorskip("OpenEXR")  # noqa: N806
    rows, columns = torch.meshgrid((torch.arange(16) + 0.5) / 16, (torch.arange(32) + 0.5) / 32, indexing="ij")
    azimuth, polar = (columns * 2 - 1) * math.pi, rows * math.pi
    directions = torch.stack([polar.sin() * azimuth.sin(), polar.cos(), -polar.sin() * azimuth.cos()], dim=-1)
    colors = light.look_up(directions.flatten(0, 1) @ rotation.to(directions).mT).T
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    pixels = colors.contiguous().view(3, 16, 32).numpy()
    planes = dict(zip("RGB", pixels, strict=True))
    OpenEXR.File(header, planes).write(str(path))


def test_a_capture_of_stanford_orb_runs_through_the_pipeline(pipe, case, tmp_path):
    views, light = rendered()
    relit, second = case.relit, case.relit_environment
    write_orb(tmp_path, "teapot_scene001", views[:6], light, "train")
    write_orb(tmp_path, "teapot_scene001", views[8:], light, "test")
    novel = write_orb(tmp_path, "teapot_scene002", relit, second, "test")
    entries = [{**frame, "scene_name": "teapot_scene002"} for frame in novel]
    path = tmp_path / "blender_LDR" / "teapot_scene001" / "transforms_novel.json"
    path.write_text(json.dumps({"frames": entries}))

    whole = find_protocol("lirm", "stanford-orb")
    assert whole.view_counts == (6, 12, 18) and whole.most_context_views == 18
    source = StanfordORBCaptures(hdr=False)
    protocol = replace(whole, source=source, context_views=6, view_counts=(2, 4, 6), target_views=3, size=(SIZE, SIZE))
    need = Need(6, 3, (SIZE, SIZE), tmp_path)
    assert source.names(need, 1) == ["teapot_scene001"]
    read = source.read("teapot_scene001", need)
    assert read.environment is not None and read.relit_environment is not None
    rows = {(row.table, row.variant): row.scores for row in evaluate(pipe, read, protocol).rows}
    assert [variant for table, variant in rows if table == "quality"] == ["1 set", "2 sets", "3 sets"]
    for scores in rows.values():
        assert set(scores) == set(protocol.table("quality").metrics)
        assert all(math.isfinite(value) for name, value in scores.items() if name != "orb_lpips")
    # the hull in the photos' colours beats grey, which is the floor of the benchmark's scores
    assert rows["quality", "3 sets"]["orb_psnr_l"] > 14
    assert rows["quality", "3 sets"]["orb_psnr_l"] > rows["quality", "1 set"]["orb_psnr_l"] - 0.5
