"""Rendered objects: maps that agree with each other and with the exact field, cameras, light, and determinism."""

import pytest
import torch
import torch.nn.functional as F

from anyviews.color import srgb_from_linear
from anyviews.data.world.objects import render, render_objects
from anyviews.data.world.objects.field import distance, normals
from anyviews.data.world.objects.render import make_scenes
from anyviews.environment import Environment
from anyviews.geometry.rays import pixel_centers


SEEDS = torch.arange(100, 108)
NAMES = (
    "images", "depths", "masks", "radiance", "normals", "base_colors", "roughness", "metallic", "environments",
)  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return render_objects(SEEDS, 3, 40, 48, samples=2)


def test_shapes_and_ranges(world):
    assert world.images.shape == (8, 3, 3, 40, 48) and world.environments.shape == (8, 3, 64, 128)
    for name in NAMES:
        assert getattr(world, name).isfinite().all(), name
    for name in ("images", "masks", "base_colors", "roughness", "metallic"):
        values = getattr(world, name)
        assert values.min() >= 0 and values.max() <= 1, name
    assert torch.equal(world.images, srgb_from_linear(world.radiance))
    assert (world.radiance >= 0).all() and world.radiance.max() > 1
    hit = world.depths > 0
    torch.testing.assert_close(world.normals.norm(dim=2, keepdim=True)[hit], torch.ones(int(hit.sum())))
    assert not world.normals.mul(~hit).any()
    assert (world.roughness[hit & (world.masks == 1)] >= 0.0499).all()
    views = world.scene(3).validate()
    views.cameras.validate()
    world.environment(3).validate()


def test_masks_are_coverage(world):
    # four rays each
    assert set((world.masks * 4).unique().tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    hit = world.depths > 0
    # the ray through the middle meets what most of the pixel shows
    assert hit[world.masks == 1].float().mean() > 0.99 and hit[world.masks == 0].float().mean() < 0.01


@pytest.fixture(scope="module")
def many():
    return render_objects(torch.arange(24), 2, 32, 32, samples=1)


def test_objects_are_in_the_picture_and_fill_it(many):
    masks = many.masks.flatten(0, 1)[:, 0]
    edge = masks[:, 0].sum(1) + masks[:, -1].sum(1) + masks[:, :, 0].sum(1) + masks[:, :, -1].sum(1)
    assert (edge == 0).float().mean() > 0.98
    across = torch.maximum(masks.amax(1).sum(1), masks.amax(2).sum(1)) / 32
    assert (across > 0.45).float().mean() > 0.75 and across.max() <= 0.97
    assert (masks.flatten(1).mean(1) > 0.01).all()


def test_depth_and_normals_are_those_of_the_exact_field():
    scenes = make_scenes(torch.tensor([5]), 2, 1.0, torch.device("cpu"))
    world = render_objects(torch.tensor([5]), 2, 64, 64, samples=1)
    hit = world.depths[0, :, 0] > 0
    cameras = world.cameras[0]
    pixels = pixel_centers(64, 64).reshape(1, -1, 2).expand(2, -1, 2)
    points = cameras.unproject(pixels, world.depths[0].flatten(1)) / scenes.scale[0]
    chosen = points[hit.flatten(1)][None]
    assert distance(scenes.parts, chosen)[0].abs().quantile(0.98) < 1e-3
    # central differences of the exact field
    step = 1e-3
    offsets = torch.eye(3)[:, None] * step
    high, low = (distance(scenes.parts, (chosen + sign * offsets).flatten(0, 1)[None])[0] for sign in (1, -1))
    gradient = F.normalize((high - low).unflatten(1, (3, -1))[0].T, dim=-1)
    found = world.normals[0].permute(0, 2, 3, 1)[hit]
    error = (gradient - found).norm(dim=-1)
    # at creases there is no gradient
    assert error.median() < 2e-4 and (error < 1e-3).float().mean() > 0.95
    assert (normals(scenes.parts, chosen)[0] - found).norm(dim=-1).median() < 1e-3
    # normals face the camera
    to_camera = cameras.centers[:, None] / scenes.scale[0] - points
    assert ((to_camera[hit.flatten(1)] * found).sum(-1) > -1e-3).float().mean() > 0.99


def test_views_agree_with_each_other():
    world = render_objects(torch.arange(20, 28), 2, 96, 96, samples=1)
    pixels = pixel_centers(96, 96).reshape(1, -1, 2).expand(8, -1, 2)
    depth = world.depths[:, 0].flatten(1)
    landed, reached = world.cameras[:, 1].project(world.cameras[:, 0].unproject(pixels, depth))
    grid = (landed / 48 - 1)[:, None]
    options = {"align_corners": False, "mode": "nearest"}
    seen = F.grid_sample(world.depths[:, 1], grid, **options)[:, 0, 0]
    inside = (grid[:, 0].abs() < 1).all(-1) & (depth > 0) & (seen > 0)
    covisible = inside & ((reached / seen - 1).abs() < 0.02)
    assert covisible.sum() > 0.3 * inside.sum()
    for name, bound in (("base_colors", 0.02), ("normals", 0.05), ("roughness", 0.02), ("metallic", 0.01)):
        first = getattr(world, name)[:, 0].flatten(2)
        second = F.grid_sample(getattr(world, name)[:, 1], grid, **options)[:, :, 0]
        error = (first - second).abs().mean(1)[covisible]
        assert error.median() < bound, name


@pytest.mark.parametrize("samples", [1, 2])
def test_an_object_depends_on_its_seed_alone(samples):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = render_objects(torch.tensor([5, 2**32 - 1, 7]), 2, 16, 24, samples=samples)
        alone = render_objects(torch.tensor([7]), 2, 16, 24, samples=samples)
    finally:
        torch.set_num_threads(threads)
    for name in NAMES:
        assert torch.equal(getattr(batch, name)[2:], getattr(alone, name)), name
    assert torch.equal(batch.cameras.camera_to_world[2:], alone.cameras.camera_to_world)
    assert (batch.images[0] - batch.images[1]).abs().mean() > 0.05


def test_objects_rendered_together_are_those_rendered_alone(monkeypatch):
    alone = render_objects(SEEDS[:3], 2, 24, 24, samples=1)
    device = torch.device("cpu")
    scenes = make_scenes(SEEDS[:3], 2, 1.0, device)
    together = render.render_scenes([scenes], 24, 24, 1)
    for name in ("depths", "masks", "radiance", "normals", "base_colors"):
        same = ((getattr(together, name) - getattr(alone, name)).abs() < 5e-3).float().mean()
        assert same > 0.99, name
    monkeypatch.setattr(render, "CPU_RAYS_PER_PASS", 500)
    banded = render_objects(SEEDS[:3], 2, 24, 24, samples=1)
    torch.testing.assert_close(banded.radiance, alone.radiance, rtol=1e-3, atol=1e-3)


def test_resolution_keeps_the_geometry():
    low, high = (render_objects(SEEDS[:3], 2, size, size, samples=1) for size in (16, 48))
    # at three times the resolution every third pixel has the same centre
    same = (high.depths[..., 1::3, 1::3] - low.depths).abs() < 2e-3 * low.depths.amax()
    assert same.float().mean() > 0.995
    torch.testing.assert_close(high.cameras.resize(16, 16).intrinsics, low.cameras.intrinsics)


def test_more_samples_are_closer_to_a_fine_picture():
    fine = F.avg_pool2d(render_objects(SEEDS[:4], 1, 96, 96, samples=1).radiance.flatten(0, 1).clamp(max=2), 6)
    coarse = [render_objects(SEEDS[:4], 1, 16, 16, samples=samples).radiance.flatten(0, 1) for samples in (1, 2)]
    errors = [(picture.clamp(max=2) - fine).square().mean() for picture in coarse]
    assert errors[1] < 0.7 * errors[0]


def test_without_maps_pictures_are_the_same():
    with_maps, without = (render_objects(SEEDS[:2], 2, 16, 16, maps=maps) for maps in (True, False))
    for name in ("images", "depths", "masks"):
        assert torch.equal(getattr(with_maps, name), getattr(without, name))
    assert without.normals is None and without.radiance is None and without.scene(0).base_colors is None


def test_given_environments_light_the_objects():
    red = Environment(torch.tensor([1.0, 0.02, 0.02])[:, None, None].expand(3, 16, 32).contiguous())
    world = render_objects(SEEDS[:3], 2, 24, 24, samples=1, environments=[red])
    covered = world.masks.expand_as(world.radiance) == 1
    mean = [(world.radiance[:, :, c][covered[:, :, c]]).mean() for c in range(3)]
    assert mean[0] > 10 * mean[1] and mean[0] > 10 * mean[2]
    ratio = world.environments[:, 0] / world.environments[:, 1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 50.0), rtol=1e-4, atol=0)


def test_no_environments_are_refused():
    with pytest.raises(ValueError, match="environments is empty"):
        render_objects(SEEDS[:1], 1, 8, 8, environments=[])


def test_reduced_precision_around_it_does_not_reach_the_objects():
    plain = render_objects(SEEDS[:2], 2, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = render_objects(SEEDS[:2], 2, 16, 16)
    assert all(torch.equal(getattr(plain, name), getattr(inside, name)) for name in NAMES)


def test_materials_of_every_roughness_occur(many):
    covered = many.masks == 1
    rough, metal = many.roughness[covered], many.metallic[covered]
    assert rough.quantile(0.1) < 0.2 and rough.quantile(0.9) > 0.65
    assert 0.1 < (metal > 0.5).float().mean() < 0.6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_devices_agree():
    cpu, gpu = (render_objects(SEEDS, 3, 32, 32, device) for device in ("cpu", "cuda"))
    # single pixels on an edge or at a step of a texture may fall on the other side
    for name, bound in (("depths", 5e-3), ("images", 2e-2), ("normals", 2e-2), ("base_colors", 2e-2)):
        same = (getattr(gpu, name).cpu() - getattr(cpu, name)).abs() < bound
        assert same.float().mean() > 0.99, name
