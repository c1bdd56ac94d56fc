"""Path-traced views agree with geometry that is known exactly, and with renders made by other code."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mesh_makers import ball, picture, quad, save
from PIL import Image
from trimesh.visual.material import PBRMaterial

from anyviews.cameras import Cameras
from anyviews.color import linear_from_srgb, srgb_from_linear
from anyviews.data.path_tracing import UnusableObjectError, choose_variant, load_asset, load_mitsuba, render_views
from anyviews.data.path_tracing.scene import environment_picture, texture_lookup
from anyviews.data.path_tracing.variants import VARIANTS
from anyviews.environment import Environment
from anyviews.formats.hdr import read_environment
from anyviews.geometry.paths import look_at


WHITE = Environment(torch.ones(3, 4, 8))


@pytest.fixture(scope="module", params=VARIANTS)
def mitsuba(request):
    pytest.importorskip("mitsuba")
    try:
        variant, _ = choose_variant(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    return load_mitsuba(variant, threads=1)


def cameras_at(*eyes, height=24, width=24, focal=30.0, center=None):
    """Cameras that look at the origin."""
    x, y = center or (width / 2, height / 2)
    intrinsics = torch.tensor([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    return look_at(torch.tensor(eyes), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), intrinsics, height, width)


def world_points(views):
    """World points [V, P, 3] of all pixels, and which of them are known [V, P]."""
    height, width = views.height, views.width
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(len(views), -1, -1)
    depth = views.depths.flatten(1)
    return views.cameras.unproject(pixels, depth), depth > 0


def test_a_ball_is_where_it_is(mitsuba, tmp_path):
    asset = load_asset(save(ball((64, 128, 255, 255), roughness=0.7, subdivisions=5), tmp_path / "ball.glb"))
    # an image wider than high, whose optical axis is far from its middle, so that a mistaken sign shows
    cameras = cameras_at((0.3, 0.8, 3.0), (-2.5, -1.0, 0.4), height=20, width=30, center=(11.0, 13.0))
    views = render_views(mitsuba, asset, WHITE, cameras, samples=4)
    views.validate()
    points, known = world_points(views)
    assert known.float().mean() > 0.3
    assert (points[known].norm(dim=-1) - 1).abs().max() < 2e-3
    inner = F.avg_pool2d(views.masks, 3, 1, 1)[:, 0].flatten(1) > 0.999
    normals = views.normals.flatten(2).mT
    cosine = (normals[inner] * F.normalize(points[inner], dim=-1)).sum(-1)
    assert cosine.min() > np.cos(np.radians(1.5))
    assert (known.reshape(2, 1, 20, 30) <= (views.masks > 0)).all()
    silhouette = (world_silhouette(cameras) > 0).reshape(2, 1, 20, 30)
    assert ((views.masks > 0.5) != silhouette).float().mean() < 0.03
    base = linear_from_srgb(views.base_colors).movedim(1, -1)[views.masks[:, 0] == 1]
    torch.testing.assert_close(base, torch.tensor([64.0, 128, 255]).expand_as(base) / 255, atol=2e-5, rtol=0)
    assert (views.roughness[views.masks == 1] - 0.7).abs().max() < 3e-3 and (views.metallic == 0).all()
    assert torch.equal(views.images, srgb_from_linear(views.radiance))


def world_silhouette(cameras):
    """Whether the ray through each pixel's centre meets the unit ball: 1 - squared distance from the origin."""
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(2, -1, -1)
    directions = F.normalize(cameras.unproject(pixels, torch.ones(2, 600)) - cameras.centers[:, None], dim=-1)
    centers = cameras.centers[:, None]
    along = (centers * directions).sum(-1, keepdim=True)
    return 1 - (centers - along * directions).square().sum(-1)


def test_a_white_ball_in_a_white_world_reflects_about_all_light(mitsuba, tmp_path):
    asset = load_asset(save(ball(roughness=1.0), tmp_path / "ball.glb"))
    views = render_views(mitsuba, asset, WHITE, cameras_at((0.0, 0.0, 3.0)), samples=64, background="black")
    middle = views.radiance[0, :, 9:15, 9:15].mean()
    assert 0.85 < middle < 1.1
    assert views.radiance[0, :, 0, 0].abs().max() == 0


def test_environment_is_seen_and_lights_from_where_it_says(mitsuba, tmp_path):
    radiance = torch.full((3, 8, 16), 0.02)
    radiance[0, :, 8:12] = 2  # red over azimuths beyond the middle column, which is +Z
    environment = Environment(radiance)
    asset = load_asset(save(ball(roughness=1.0), tmp_path / "ball.glb"))
    side = F.normalize(environment.directions()[4, 10], dim=0)
    eyes = [(3 * side).tolist(), (-3 * side).tolist()]
    views = render_views(mitsuba, asset, environment, cameras_at(*eyes), samples=16)
    red = views.radiance[:, 0, 10:14, 10:14].mean((1, 2))
    assert red[0] > 5 * red[1]
    # the camera on the red side looks away from it
    assert views.radiance[0, 0, 0, 0] < 0.1 and views.radiance[1, 0, 0, 0] > 1


def test_environment_picture_is_what_look_up_gives(mitsuba):
    environment = Environment(torch.rand(3, 6, 12))
    light = mitsuba.load_dict({"type": "envmap", "bitmap": mitsuba.Bitmap(environment_picture(environment))})
    for direction in F.normalize(torch.randn(50, 3), dim=-1):
        interaction = mitsuba.SurfaceInteraction3f()
        interaction.wi = -mitsuba.Vector3f(*direction.tolist())
        expected = environment.look_up(direction)
        light_there = torch.from_numpy(np.array(light.eval(interaction), np.float32).reshape(3))
        torch.testing.assert_close(light_there, expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 1, 3), (1, 1, 1)])
def test_texture_lookup_is_what_is_rendered(mitsuba, shape):
    texture = np.random.default_rng(0).random(shape, np.float32)
    shown = mitsuba.load_dict({"type": "bitmap", "bitmap": mitsuba.Bitmap(texture), "raw": True})
    uv = torch.rand(40, 2) * 4 - 2
    looked_up = texture_lookup(texture, uv)
    for place, found in zip(uv, looked_up, strict=True):
        interaction = mitsuba.SurfaceInteraction3f()
        interaction.uv = mitsuba.Point2f(*place.tolist())
        value = shown.eval_3(interaction) if shape[2] == 3 else shown.eval_1(interaction)
        value = torch.from_numpy(np.array(value, np.float32).reshape(-1))
        torch.testing.assert_close(found, value, atol=1e-4, rtol=1e-4)
    assert looked_up.shape == (40, shape[2])


UPRIGHT = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
LAYOUTS = {
    "upright": (UPRIGHT, (0, 1)),
    "mirrored left to right": (UPRIGHT * (-1, 1) + (1, 0), (0, 1)),
    "upside down and mirrored": (UPRIGHT * (1, -1) + (0, 1), (0, -1)),
    "turned by half": (1 - UPRIGHT, (0, -1)),
    "turned left": (np.roll(UPRIGHT, 1, axis=0), (-1, 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_normal_maps_tilt_towards_the_top_of_their_picture(mitsuba, tmp_path, layout):
    uv, (x, y) = LAYOUTS[layout]
    # in glTF green is the direction of the picture's top: here (0, 0.6, 0.8)
    material = PBRMaterial(normalTexture=picture((128, 204, 230)), metallicFactor=0.0, roughnessFactor=1.0)
    asset = load_asset(save(quad(material, uv), tmp_path / "quad.glb"))
    radiance = torch.zeros(3, 32, 64)
    toward = F.normalize(torch.tensor([0.8 * x, 0.8 * y, 0.6]), dim=0)
    light = Environment(radiance).directions() @ toward
    radiance[:, light > 0.98] = 50
    away = Environment(radiance).directions() @ (toward * torch.tensor([-1.0, -1.0, 1.0]))
    views = [
        render_views(mitsuba, asset, Environment(environment), cameras_at((0.0, 0.0, 3.0)), samples=16)
        for environment in (radiance, torch.zeros(3, 32, 64).masked_fill(away > 0.98, 50.0))
    ]
    middle = views[0].normals[0, :, 12, 12]
    torch.testing.assert_close(middle, torch.tensor([0.6 * x, 0.6 * y, 0.8]), atol=0.01, rtol=0)
    bright, dark = (view.radiance[0, :, 8:16, 8:16].mean() for view in views)
    assert bright > 2 * dark


def test_the_back_of_a_surface_is_its_mirror_image(mitsuba, tmp_path):
    material = PBRMaterial(
        normalTexture=picture((128, 204, 230)), baseColorFactor=[255, 128, 0, 255], metallicFactor=0.5
    )
    asset = load_asset(save(quad(material), tmp_path / "quad.glb"))
    views = render_views(mitsuba, asset, WHITE, cameras_at((0.0, 0.0, 3.0), (0.0, 0.0, -3.0)), samples=64)
    front, back = views.normals[:, :, 12, 12]
    torch.testing.assert_close(back, front * torch.tensor([1.0, 1.0, -1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(views.base_colors[1, :, 12, 12], views.base_colors[0, :, 12, 12], atol=1e-5, rtol=0)
    bright = views.radiance[:, :, 8:16, 8:16].mean((2, 3))
    torch.testing.assert_close(bright[0], bright[1], atol=0.03, rtol=0)
    assert bright[0, 0] > 0.4


def test_several_materials_and_vertex_colors(mitsuba, tmp_path):
    import trimesh

    painted = PBRMaterial(
        baseColorTexture=picture((255, 0, 0), (0, 0, 255)),
        metallicRoughnessTexture=picture((0, 255, 255), (0, 128, 0)),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    colored = quad(offset=(3, 0, 0))
    colored.visual = trimesh.visual.ColorVisuals(colored, vertex_colors=np.tile(np.uint8([0, 255, 0, 255]), (4, 1)))
    no_places = quad(offset=(-3, 0, 0))
    no_places.visual = trimesh.visual.TextureVisuals(material=painted)
    scene = trimesh.Scene([quad(painted), colored, no_places])
    asset = load_asset(save(scene, tmp_path / "three.glb"))
    views = render_views(mitsuba, asset, WHITE, cameras_at((0.0, 0.0, 3.0), width=72, focal=120.0), samples=4)
    places = {"purple": 7, "red": 32, "blue": 39, "green": 65}
    colors = {name: views.base_colors[0, :, 12, column] for name, column in places.items()}
    purple = srgb_from_linear(torch.tensor([0.5, 0.0, 0.5]))
    for name, expected in (("red", (1, 0, 0)), ("blue", (0, 0, 1)), ("green", (0, 1, 0)), ("purple", purple)):
        torch.testing.assert_close(colors[name], torch.as_tensor(expected).float(), atol=0.02, rtol=0)
    assert [round(views.metallic[0, 0, 12, places[name]].item(), 1) for name in ("red", "blue", "green")] == [1, 0, 0]
    assert [round(views.roughness[0, 0, 12, places[name]].item(), 1) for name in ("red", "blue")] == [1, 0.5]


def test_a_surface_seen_from_its_edge_is_refused(mitsuba, tmp_path):
    asset = load_asset(save(quad(), tmp_path / "quad.ply"))
    with pytest.raises(UnusableObjectError, match="does not see the object") as caught:
        render_views(mitsuba, asset, WHITE, cameras_at((3.0, 0.0, 0.0)), samples=4)
    assert caught.value.reason == "invisible"


def test_oblong_pixels_are_refused(mitsuba, tmp_path):
    asset = load_asset(save(ball(subdivisions=1), tmp_path / "ball.glb"))
    cameras = cameras_at((0.0, 0.0, 3.0))
    cameras = Cameras(
        cameras.intrinsics * torch.tensor([1.0, 1.1, 1.0])[:, None], cameras.camera_to_world, cameras.image_sizes
    )
    with pytest.raises(ValueError, match="oblong or skewed"):
        render_views(mitsuba, asset, WHITE, cameras, samples=1)


@pytest.mark.timeout(120)
def test_the_avocado_agrees_with_renders_of_other_code(mitsuba, shared_data):
    """Measured with 64 paths: depth 0.001 %, normals 0.19 degrees, base colour 0.0012, mask 0.0002, 37.7 dB."""
    folder = shared_data / "pbr_objects" / "avocado"
    record = json.loads((folder / "cameras.json").read_text())
    frame, scale = record["frames"][9], 1 / record["bounding_radius"]
    intrinsics, pose = torch.tensor(frame["K"]), torch.tensor(frame["c2w"])
    pose[:3, 3] *= scale
    # the middle quarter of the pictures, at their own resolution
    cameras = Cameras.create(intrinsics, pose, 256, 256).crop(80, 80, 96, 96).reshape(1)
    environment = read_environment(shared_data / record["env_A"])
    views = render_views(mitsuba, load_asset(folder / "object.glb"), environment, cameras, samples=36)

    def given(key):
        pixels = np.asarray(Image.open(folder / frame[key])).astype(np.float32)
        return torch.from_numpy(pixels.reshape(256, 256, -1)[80:176, 80:176]).permute(2, 0, 1)

    rgba, depth = given("file") / 255, given("depth") / record["depth_scale"] * scale
    assert (views.masks[0] - rgba[3:]).abs().mean() < 0.005
    both = (depth > 0) & (views.depths[0] > 0)
    assert both.float().mean() > 0.3
    assert ((views.depths[0] - depth).abs() / depth.clamp(min=0.1))[both].max() < 0.01
    solid = rgba[3] == 1
    normals = F.normalize(given("normal") / 255 * 2 - 1, dim=0)
    cosine = (normals * views.normals[0]).sum(0).clamp(-1, 1)
    assert torch.rad2deg(torch.acos(cosine))[solid].median() < 1
    assert (views.base_colors[0] - given("albedo") / 255).abs()[:, solid].mean() < 0.01
    material = given("material") / 255
    assert (views.roughness[0, 0] - material[1]).abs()[solid].mean() < 0.01
    assert (views.metallic[0, 0] - material[2]).abs()[solid].mean() < 0.01
    error = (views.images[0] - rgba[:3])[:, solid].square().mean()
    assert -10 * torch.log10(error) > 28


def test_denoising_comes_nearer_to_many_samples(mitsuba, tmp_path):
    pytest.importorskip("pyoidn")
    asset = load_asset(save(ball(roughness=0.5), tmp_path / "ball.glb"))
    environment = Environment(torch.rand(3, 8, 16).square() * 4)
    cameras = cameras_at((0.0, 0.5, 3.0), height=48, width=48, focal=60.0)
    options = ({"samples": 4}, {"samples": 4, "denoise": True}, {"samples": 256, "seed": 1})
    few, clean, many = (render_views(mitsuba, asset, environment, cameras, **option).images for option in options)
    assert (clean - many).square().mean() < 0.5 * (few - many).square().mean()
