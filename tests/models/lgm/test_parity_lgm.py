"""The network, its cameras and its inputs are what the official ones are."""

import hashlib
import os

import pytest
import torch
import torch.nn.functional as F
from golden_lgm import (
    assert_close,
    flat,
    golden,
    golden_big_keys,
    golden_pixel_values,
    micro_a,
    needs_golden,
    recipe_model,
    recipe_weight,
)

from anyviews.cameras import Cameras
from anyviews.formats.gaussian_ply import read_gaussian_ply, write_gaussian_ply
from anyviews.gaussians import Gaussians
from anyviews.models.lgm import (
    LARGEST_JITTER,
    LGMModel,
    distort_images,
    first_camera_frame,
    gaussians_from_maps,
    jitter_cameras,
    lgm_cameras,
    prepare_images,
)
from anyviews.rendering.gaussians import render_gaussians


pytestmark = needs_golden

# How the official rasteriser renders.
OFFICIAL = {"near": 0.2, "max_alpha": 0.99, "extent": "tiles"}
LARGE_TESTS = "ANYVIEWS_LARGE_TESTS"


def test_outputs():
    case = golden("micro_a_io")
    with torch.no_grad():
        output = micro_a()(golden_pixel_values("micro_a_io"))
    assert_close(golden_pixel_values("micro_a_io")[:1], case["input"], 1e-6)
    assert_close(output.maps.flatten(0, 1), case["conv_out"], 1e-4)
    assert_close(flat(output.gaussians), case["gaussians"], 1e-4)
    assert_close(flat(gaussians_from_maps(case["conv_out"].unflatten(0, (2, 4)))), case["gaussians"], 1e-6)


def test_outputs_of_every_level():
    model, case, seen = micro_a(), golden("micro_a_io"), {}
    unet = model.unet
    layers = {"conv_in": unet.conv_in, "mid_block": unet.mid_block, "norm_out": unet.norm_out}
    layers |= {f"down_blocks.{index}": block for index, block in enumerate(unet.down_blocks)}
    layers |= {f"up_blocks.{index}": block for index, block in enumerate(unet.up_blocks)}

    def record(name):
        return lambda module, arguments, output: seen.__setitem__(name, output)

    hooks = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    with torch.no_grad():
        model(golden_pixel_values("micro_a_io"))
    for hook in hooks:
        hook.remove()
    assert len(layers) == sum(name.startswith("tap.") for name in case)
    for name in layers:
        found = seen[name][-1] if name.startswith("down") else seen[name]
        assert_close(found[[0, 5]], case[f"tap.{name}"], 1e-4)


def test_rendering_and_loss():
    """Of the official training: views on white, squared errors of colour and alpha."""
    case = golden("micro_a_io")
    gaussians = gaussians_from_maps(case["conv_out"].unflatten(0, (2, 4)))
    orbit = lgm_cameras([0, 45, 130, -70, 180, 300], [0, 0, 25, -15, 0, 60], size=48)
    assert_close(orbit.to_opengl(), case["c2w_opengl"], 1e-5)
    rendered = render_gaussians(gaussians, Cameras.stack([orbit, orbit]), background=torch.ones(3), **OFFICIAL)
    images = rendered.images.clamp(0, 1)
    for found, expected in ((images, case["images_pred"]), (rendered.alphas, case["alphas_pred"])):
        error = (found - expected).abs()
        assert (error > 1e-4).float().mean() < 1e-3, error.max()
    truth, masks = case["gt_images"].float(), case["gt_masks"].float()
    truth = truth * masks + 1 - masks
    loss = F.mse_loss(images, truth) + F.mse_loss(rendered.alphas, masks)
    assert_close(loss, case["loss"][0], 1e-4)
    assert_close(-10 * F.mse_loss(images, truth).log10(), case["psnr"][0], 1e-3)


def test_weights_of_the_released_model():
    with torch.device("meta"):
        model = LGMModel.from_size("big")
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == golden_big_keys()
    assert sum(parameter.numel() for parameter in model.parameters()) == 415_042_848


@pytest.mark.parametrize(
    ("key", "shape", "digest"),
    [
        ("unet.conv_in.weight", (64, 9, 3, 3), "2aa3df6a6714881d"),
        ("unet.mid_block.attns.0.attn.qkv.weight", (3072, 1024), "d90415a9734e212d"),
        ("unet.norm_out.bias", (128,), "1dc45f2d5f2f5b93"),
        ("conv.bias", (14,), "fd9ce6815bf9991a"),
    ],
)
def test_recipe(key, shape, digest):
    """The weights that the numbers below were made with."""
    assert hashlib.sha256(recipe_weight(key, shape).numpy().tobytes()).hexdigest()[:16] == digest


@pytest.mark.skipif(LARGE_TESTS not in os.environ, reason=f"a minute and 4 GB; set {LARGE_TESTS}=1")
def test_outputs_of_the_released_size():
    case = golden("big256_io")
    model = recipe_model("big")
    with torch.no_grad():
        output = model(golden_pixel_values("big256_io"))
        assert_close(flat(output.gaussians), case["gaussians"], 2e-4)
        half = model.to(torch.bfloat16)(golden_pixel_values("big256_io"))
    error = (flat(half.gaussians) - case["gaussians"])[..., :3].norm(dim=-1)
    assert error.median() < 0.02 and error.quantile(0.99) < 0.05


@pytest.mark.parametrize("radius", [1.5, 2.0])
def test_orbit(radius):
    case = golden("cameras")
    elevation, azimuth = case["elev_azim"].float().unbind(-1)
    # elevations are positive above the horizon here, below it there
    found = lgm_cameras(azimuth, -elevation, radius=radius, size=12)
    assert_close(found.to_opengl(), case[f"c2w_opengl_r{radius}"], 1e-6)
    found.validate()


def test_rays():
    case = golden("cameras")
    elevation, azimuth = case["elev_azim"].float().unbind(-1)
    values = prepare_images(torch.zeros(7, 3, 12, 12), lgm_cameras(azimuth, -elevation), size=12)
    assert_close(values[:, 3:], case["plucker_12x12"], 1e-6)
    for degrees in (0, 15):
        values = prepare_images(torch.zeros(4, 3, 8, 8), lgm_cameras(elevations=-degrees), size=32)
        assert_close(values[:, 3:], case[f"default_rays_32_elev{degrees}"], 1e-6)


def test_camera_jitter():
    case = golden("cameras")
    cameras = Cameras.from_opengl(
        torch.eye(3).expand(7, 3, 3), case["jitter_in"], torch.full((7, 2), 8, dtype=torch.int64)
    )
    drawn = torch.cat([case["jitter_u_x"], case["jitter_u_y"]], dim=-1)
    turned = jitter_cameras(cameras, (2 * drawn - 1) * torch.tensor(LARGEST_JITTER))
    assert_close(turned.to_opengl(), case["jitter_out"], 1e-6)
    still = jitter_cameras(cameras, torch.zeros(7, 2))
    assert_close(still.camera_to_world, cameras.camera_to_world, 1e-6)


def test_grid_distortion():
    case = golden("cameras")
    lines = 11  # what numpy draws first from seed 5
    torch.manual_seed(5)
    drawn = torch.rand(3, 2, lines)  # of each image, columns before rows
    moved = torch.linspace(0, 1, lines) + 0.5 * (drawn - 0.5) / (lines - 1)
    columns, rows = moved.clamp(0, 1).unbind(1)
    assert_close(distort_images(case["grid_in"], columns, rows), case["grid_out_seed5"], 1e-4)


def test_training_item():
    """Blender cameras and masked images to inputs, targets and their cameras."""
    case = golden("dataset_eval_item")
    pixels = case["raw_bgra_u8"].float().movedim(-1, 1) / 255
    images = pixels[:, :3].flip(1) * pixels[:, 3:] + 1 - pixels[:, 3:]
    y_up = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    cameras = Cameras.create(
        lgm_cameras(size=64).intrinsics[:1].expand(8, 3, 3), y_up @ case["raw_c2w_blender_opencv"].float(), 64, 64
    )
    cameras = first_camera_frame(cameras).apply_cameras(cameras)
    assert_close(prepare_images(images[:4], cameras[:4], size=32), case["input"], 1e-4)
    assert_close(cameras.world_to_camera.mT, case["cam_view"], 1e-4)
    assert_close(-cameras.centers, case["cam_pos"], 1e-4)
    resized = F.interpolate(images, (48, 48), mode="bilinear", align_corners=False)
    assert_close(resized, case["images_output"], 1e-4)


@pytest.mark.parametrize("kind", ["compatible", "raw"])
def test_files(tmp_path, kind):
    """Gaussians of the network are written as the official code writes them, byte for byte in the body's values."""
    case = golden("ply")
    means, opacities, scales, rotations, colors = case["gaussians"][0].split([3, 1, 3, 4, 3], dim=-1)
    gaussians = Gaussians.from_colors(means, rotations, scales, opacities[:, 0], colors).prune(min_opacity=0.005)
    write_gaussian_ply(gaussians, tmp_path / "a.ply", layout="lgm" if kind == "compatible" else "lgm-raw")
    found = read_gaussian_ply(tmp_path / "a.ply")
    assert_close(flat(found), case[f"loaded_{kind}"], 1e-4)
