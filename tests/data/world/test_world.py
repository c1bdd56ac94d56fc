import pytest
import torch
import torch.nn.functional as F
from reprojection import covisibility, reproject, sample

from anyviews.color import srgb_from_linear
from anyviews.data.world import render_world, room
from anyviews.data.world.random_scene import HIDDEN, random_room
from anyviews.geometry.rays import pixel_centers


# objects have tests of their own
KINDS = ["room", "apartment"]
SEEDS = torch.arange(100, 124)


def unprojected(world, pixels):
    """World points [B, V, H, W, 3] of all pixels."""
    points = world.cameras.unproject(pixels.expand(*world.depths.shape[:2], -1, 2), world.depths.flatten(2))
    return points.unflatten(2, world.depths.shape[-2:])


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_ranges(kind):
    world = render_world(SEEDS[:8], 3, 24, 32, kind)
    assert world.images.shape == (8, 3, 3, 24, 32)
    assert world.images.isfinite().all() and world.images.min() >= 0 and world.images.max() <= 1
    assert world.depths.isfinite().all() and (world.depths >= 0).all()
    assert torch.equal(world.masks, (world.depths > 0).float())
    assert world.cameras.batch_shape == (8, 3)
    world.cameras.validate()
    # images are neither black nor flat
    assert world.images.flatten(1).std(1).min() > 0.02 and world.images.mean() > 0.2
    if kind == "room":
        assert world.masks.all()
    else:
        assert 0.8 < world.masks.mean() < 1, "windows show the sky, which has no depth"


@pytest.mark.parametrize("kind", KINDS)
def test_one_scene_as_views(kind):
    views = render_world(SEEDS[:2], 3, 16, 16, kind).scene(1).validate()
    assert len(views) == 3 and views.depths.shape == (3, 1, 16, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_maps(kind):
    world = render_world(SEEDS[:5], 2, 24, 24, kind)
    views = world.scene(3).validate()
    for name in ("radiance", "normals", "base_colors", "roughness", "metallic"):
        assert torch.equal(getattr(views, name), getattr(world, name)[3])
    torch.testing.assert_close(srgb_from_linear(world.radiance), world.images, atol=1e-5, rtol=0)
    assert (world.radiance >= 0).all() and (world.base_colors.std() > 0.05)
    for name in ("base_colors", "roughness", "metallic"):
        values = getattr(world, name)
        assert values.min() >= 0 and values.max() <= 1
    lengths = world.normals.norm(dim=2, keepdim=True)
    torch.testing.assert_close(lengths, world.masks, atol=1e-4, rtol=0)
    without = render_world(SEEDS[:5], 2, 24, 24, kind, maps=False)
    torch.testing.assert_close(without.images, world.images, atol=1e-5, rtol=0)
    assert torch.equal(without.depths, world.depths)
    assert without.radiance is without.normals is without.base_colors is without.environments is None


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_those_of_the_depth(kind):
    world = render_world(SEEDS[:4], 2, 96, 96, kind, samples=1)
    pixels = pixel_centers(96, 96).reshape(-1, 2)
    points = unprojected(world, pixels)
    normals = world.normals.permute(0, 1, 3, 4, 2)
    middle = normals[:, :, 1:-1, 1:-1]
    neighbours = [normals[:, :, 1:-1, 2:], normals[:, :, 1:-1, :-2], normals[:, :, 2:, 1:-1], normals[:, :, :-2, 1:-1]]
    flat = torch.stack([(n * middle).sum(-1) > 1 - 1e-6 for n in neighbours]).all(0) & (middle.norm(dim=-1) > 0.5)
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    slant = [((step / step.norm(dim=-1, keepdim=True)) * middle).sum(-1).abs() for step in (across, down)]
    # between two parallel planes there is a step, which shows in inverse depth: it is linear in the image on a plane
    inverse = 1 / world.depths[:, :, 0].clamp(min=1e-3)
    bend = (inverse[:, :, 1:-1, 2:] + inverse[:, :, 1:-1, :-2] - 2 * inverse[:, :, 1:-1, 1:-1]).abs()
    bend += (inverse[:, :, 2:, 1:-1] + inverse[:, :, :-2, 1:-1] - 2 * inverse[:, :, 1:-1, 1:-1]).abs()
    smooth = flat & (bend < 1e-5 * inverse[:, :, 1:-1, 1:-1])
    error = torch.maximum(*slant)[smooth]
    assert smooth.float().mean() > 0.4
    assert (error < 1e-3).float().mean() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_up_is_plus_y(kind):
    world = render_world(SEEDS[:8], 3, 24, 24, kind, samples=1)
    points = unprojected(world, pixel_centers(24, 24).reshape(-1, 2))
    height = points[..., 1] - world.cameras.centers[:, :, None, None, 1]
    up = world.normals[:, :, 1]
    assert (height[up > 0.999] < 0).float().mean() > 0.999 and (up > 0.999).float().mean() > 0.1
    assert (height[up < -0.999] > 0).float().mean() > 0.98 and (up < -0.999).float().mean() > 0.02
    # and cameras stand upright: their y axis points down
    assert (world.cameras.rotation[..., 1, 1] < -0.5).float().mean() > 0.95


def test_rooms_stay_what_checkpoints_were_trained_on():
    world = render_world(torch.tensor([3, 2**31 + 7]), 2, 16, 24, "room")
    stored = torch.tensor(
        [
            [0.5568342804908752, 1.494125247001648, 0.38321325182914734, 0.5039352774620056, 0.2810625433921814],
            [0.6083533763885498, 6.3885111808776855, 0.6620919704437256, 0.6000527739524841, 0.31793275475502014],
        ]
    )
    for image, depth, values in zip(world.images, world.depths, stored, strict=True):
        found = [image.mean(), depth.mean(), image[0, 0, 3, 5], image[0, 1, 3, 5], image[1, 1, 12, 20]]
        torch.testing.assert_close(torch.stack(found), values, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_depends_on_its_seed_alone(kind, samples):
    batch = render_world(torch.tensor([5, 2**32 - 1, 7]), 3, 16, 24, kind, samples=samples)
    alone = render_world(torch.tensor([7]), 3, 16, 24, kind, samples=samples)
    for name in ("images", "depths", "masks"):
        torch.testing.assert_close(getattr(batch, name)[2:3], getattr(alone, name), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(batch.cameras.camera_to_world[2:3], alone.cameras.camera_to_world)
    assert (batch.images[0] - batch.images[1]).abs().mean() > 0.05, "different seeds gave the same scene"


@pytest.mark.parametrize("kind", KINDS)
def test_depth_and_colours_agree_across_views(kind):
    world = render_world(SEEDS[:5], 2, 96, 96, kind, samples=1)
    grid, inside, depth = reproject(world, 0, 1)
    # inverse depth is linear in the image on planes, so that it can be interpolated
    inverse = sample(1 / world.depths[:, 1].clamp(min=1e-3), grid, "bilinear")[:, 0]
    error = (inverse * depth - 1).abs()
    covisible = inside & (error < 0.05)
    assert covisible.float().mean() > 0.5 * inside.float().mean()
    assert error[covisible].median() < 1e-3
    color_error = (sample(world.images[:, 1], grid, "bilinear") - world.images[:, 0].flatten(2)).abs().mean(1)
    assert color_error[covisible].median() < 0.02
    # and they would not agree by chance
    shuffled = (world.images[:, 1].flatten(2) - world.images[:, 0].flatten(2)).abs().mean(1)
    assert shuffled[covisible].mean() > 2 * color_error[covisible].mean()


@pytest.mark.parametrize("kind", KINDS)
def test_resolution_and_samples_keep_the_geometry(kind):
    low, high = (render_world(SEEDS[:4], 2, size, size, kind) for size in (16, 48))
    # at three times the resolution every third pixel has the same centre
    torch.testing.assert_close(high.depths[..., 1::3, 1::3], low.depths, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(high.cameras.camera_to_world, low.cameras.camera_to_world)
    torch.testing.assert_close(high.cameras.resize(16, 16).intrinsics, low.cameras.intrinsics)
    single = render_world(SEEDS[:4], 2, 16, 16, kind, samples=1)
    torch.testing.assert_close(single.depths, low.depths, rtol=1e-3, atol=1e-3)


def test_supersampling_is_closer_to_a_fine_rendering():
    fine = F.avg_pool2d(render_world(SEEDS, 1, 128, 128, samples=1).images.flatten(0, 1), 8)
    errors = [
        (render_world(SEEDS, 1, 16, 16, samples=samples).images.flatten(0, 1) - fine).square().mean()
        for samples in (1, 2)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_room_cameras_are_in_free_space():
    scene = random_room(torch.arange(200), 6, "cpu")
    assert (scene.centers.abs() < scene.room[:, None]).all()
    assert scene.solids.clearance(scene.centers).min() > 0
    shown = (scene.solids.centers[..., 1] < HIDDEN / 2).sum(1)
    assert shown.max() == 8 and shown.float().mean() > 4


@pytest.mark.parametrize("kind", KINDS)
def test_reduced_precision_around_it_does_not_reach_the_world(kind):
    plain = render_world(SEEDS[:4], 2, 16, 16, kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = render_world(SEEDS[:4], 2, 16, 16, kind)
    assert torch.equal(plain.depths, inside.depths) and torch.equal(plain.images, inside.images)


@pytest.mark.parametrize("size", [(17, 30), (30, 17)])
def test_bands_of_rows_do_not_show(size, monkeypatch):
    whole = render_world(SEEDS[:3], 2, *size)
    monkeypatch.setattr(room, "CPU_RAYS_PER_PASS", 600)
    banded = render_world(SEEDS[:3], 2, *size)
    torch.testing.assert_close(banded.images, whole.images, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(banded.depths, whole.depths, rtol=1e-5, atol=1e-5)


def test_views_overlap():
    assert 0.5 < covisibility(render_world(torch.arange(40), 4, 24, 24, "room", samples=1)) < 0.8


def test_baselines_are_small_and_large():
    world = render_world(torch.arange(200), 2, 8, 8, samples=1)
    baseline = (world.cameras.centers[:, 0] - world.cameras.centers[:, 1]).norm(dim=-1)
    relative = baseline / world.depths.flatten(1).median(dim=1).values
    low, high = relative.quantile(torch.tensor([0.1, 0.9]))
    assert low < 0.1 and high > 0.4


def test_world_scale_varies():
    depth = render_world(torch.arange(64), 1, 8, 8, samples=1).depths.flatten(1).mean(1)
    assert depth.quantile(0.95) > 4 * depth.quantile(0.05)


def test_an_unknown_kind_is_named():
    with pytest.raises(Exception, match="room"):
        render_world(SEEDS, 2, 8, 8, "city")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_would_repeat_scenes_are_refused(seed):
    with pytest.raises(ValueError, match=str(seed)):
        render_world(torch.tensor([3, seed]), 1, 8, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_devices_agree(kind):
    cpu, gpu = (render_world(SEEDS, 3, 32, 32, kind, device) for device in ("cpu", "cuda"))
    # single pixels on an edge or at a step of a texture may fall on the other side
    depth_error = (gpu.depths.cpu() - cpu.depths).abs() / cpu.depths.clamp(min=1e-3)
    assert (depth_error < 1e-3).float().mean() > 0.999
    assert ((gpu.images.cpu() - cpu.images).abs() < 1e-2).float().mean() > 0.995
