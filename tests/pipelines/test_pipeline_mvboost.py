"""MVBoostPipeline: its stages alone and together, refinement, adapters, saving, bad input."""

import json
import sys

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from models.era3d.small_era3d import photo, seeded, small_pipeline
from models.lgm.plain_lgm import small_model
from PIL import Image

from anyviews.evaluation.angles import rotation_angles
from anyviews.formats import load_scene, save_scene
from anyviews.gaussians import Gaussians
from anyviews.models.era3d import VIEW_AZIMUTHS
from anyviews.models.lgm import lgm_cameras, lgm_lora_config, prepare_images
from anyviews.pipelines.output_era3d import Era3DCondition, Era3DPipelineOutput
from anyviews.pipelines.pipeline_era3d import Era3DPipeline
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.input_pose import PoseSearch
from anyviews.rendering.input_view import InputViewFit


# fewer levels than LGM's tests need
TINY = {"down_channels": (32, 32), "down_attention": (False, True), "up_channels": (32,), "up_attention": (True,)}


def build(**overrides) -> MVBoostPipeline:
    torch.manual_seed(0)
    # another field of view and distance than LGM's, so that a camera of the wrong ones is noticed
    model = small_model(**{"camera_radius": 1.7, "field_of_view": 45.0, "output_size": 24, **TINY, **overrides})
    return MVBoostPipeline(small_pipeline(), model)


@pytest.fixture(scope="module")
def pipe() -> MVBoostPipeline:
    return build()


def call(pipe, image=None, seed=0, **options):
    image = photo() if image is None else image
    options = {"generator": seeded(seed), "num_inference_steps": 2, "output_type": "pt", **options}
    return pipe(image, **options)


def same(actual, expected, atol=1e-5):
    for name in ("means", "rotations", "scales", "opacities", "spherical_harmonics"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name), atol=atol, rtol=0)


def with_adapter(model, rank=2):
    model.add_lora(lgm_lora_config(rank))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=seeded())
    return model


def test_the_gaussians_are_lgms_of_the_front_right_back_and_left_views(pipe):
    output = call(pipe)
    assert len(output) == 1 and output.unrefined_gaussians is None and output.unrefined_images is None
    assert output.images.shape == output.normals.shape == (6, 3, 16, 16)
    views = [list(VIEW_AZIMUTHS).index(name) for name in ("front", "right", "back", "left")]
    cameras = lgm_cameras(radius=1.7, field_of_view=45.0, size=16)
    with torch.no_grad():
        expected = pipe.reconstructor(prepare_images(output.images[views], cameras, 16)[None]).gaussians
    same(output.gaussians, expected)


def test_views_are_the_generators_own(pipe):
    output, alone = call(pipe), pipe.multiview(photo(), generator=seeded(), num_inference_steps=2, output_type="pt")
    assert torch.equal(output.images, alone.images) and torch.equal(output.normals, alone.normals)
    assert torch.equal(output.pictures, alone.condition.pictures)


def test_a_refinement_is_the_stages_one_after_the_other(pipe):
    output = call(pipe, refine=True, strength=0.5)
    generator = seeded()
    views = pipe.generate_views(photo(), num_inference_steps=2, generator=generator)
    before = pipe.reconstruct(views.images)
    renders = pipe.render_views(before)
    assert renders.shape == views.images.shape
    refined = pipe.refine_views(views, renders, 0.5, num_inference_steps=2, generator=generator)
    assert torch.equal(output.unrefined_images, views.images)
    assert torch.equal(output.images, refined.images)
    assert not torch.equal(output.images, views.images)
    same(output.unrefined_gaussians, before)
    same(output.gaussians, pipe.reconstruct(refined.images))


@pytest.mark.parametrize(("strength", "kept"), [(0.25, 1), (0.95, 3), (1.0, 4)])
def test_a_refinement_goes_the_last_steps(pipe, strength, kept):
    seen = []
    handle = pipe.multiview.unet.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1])))
    call(pipe, refine=True, strength=strength, num_inference_steps=4)
    handle.remove()
    assert seen[4:] == seen[:4][-kept:]


def test_a_refinement_starts_from_the_renders(pipe):
    views = call(pipe)
    first = pipe.generate_views(photo(), num_inference_steps=2, generator=seeded())
    renders = pipe.render_views(views.gaussians)
    refined = [
        pipe.refine_views(first, start, 0.5, num_inference_steps=2, generator=seeded(1)).images
        for start in (renders, 1 - renders)
    ]
    assert not torch.equal(*refined)


def test_renders_show_the_views_in_their_order(pipe):
    """A Gaussian to the viewer's right is at the right of the front view, and in the middle from both sides."""
    mark = Gaussians.from_colors(
        means=torch.tensor([[[0.4, 0.0, 0.0]]]),
        rotations=torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]),
        scales=torch.full((1, 1, 3), 0.05),
        opacities=torch.ones(1, 1),
        colors=torch.zeros(1, 1, 3),
    )
    dark = 1 - pipe.render_views(mark, size=32).mean(1)  # [6, 32, 32]
    line = torch.arange(32) + 0.5
    columns = (dark.sum(1) * line).sum(-1) / dark.sum((1, 2)) - 16
    sides = dict(zip(VIEW_AZIMUTHS, columns.tolist(), strict=True))
    assert sides["front"] > 5 and sides["back"] < -5
    assert abs(sides["right"]) < 0.5 and abs(sides["left"]) < 0.5
    assert sides["front_right"] > 3 and sides["front_left"] > 3


def test_several_objects_are_as_each_alone(pipe):
    images = [photo(seed=1), photo(seed=2)]
    together = call(pipe, images, generator=[seeded(5), seeded(6)], refine=True)
    assert len(together) == 2 and together.images.shape[0] == 12
    for i in range(2):
        alone = call(pipe, images[i], generator=[seeded(5 + i)], refine=True)
        same(together.gaussians[i], alone.gaussians[0], atol=1e-3)
        torch.testing.assert_close(together.images[6 * i : 6 * i + 6], alone.images, atol=1e-4, rtol=0)


def test_output_types(pipe):
    tensors, arrays, pictures = (call(pipe, output_type=kind) for kind in ("pt", "np", "pil"))
    assert np.array_equal(arrays.images, tensors.images.movedim(1, -1).numpy())
    assert isinstance(pictures.normals[5], Image.Image) and pictures.normals[5].size == (16, 16)
    gaussians, images, normals = call(pipe, return_dict=False)
    same(gaussians, tensors.gaussians)
    assert torch.equal(images, tensors.images) and torch.equal(normals, tensors.normals)


def test_a_scene_has_renders_and_depth_that_fit_its_cameras(pipe, tmp_path):
    output = call(pipe, [photo(seed=1), photo(seed=2)], generator=seeded())
    scene = output.to_scene(1)
    same(scene.gaussians, output.gaussians[1])
    assert scene.images.shape == (6, 3, 24, 24) and scene.depths.shape == (6, 1, 24, 24)
    known = scene.depths[scene.depths > 0]
    assert len(known) and (known > 1.7 - 3**0.5).all() and (known < 1.7 + 3**0.5).all()
    with pytest.raises(IndexError, match="2 objects"):
        output.to_scene(2)
    save_scene(scene, tmp_path / "object.ply", "gaussian-ply")
    assert len(load_scene(tmp_path / "object.ply").gaussians) == len(output.gaussians)


def test_saved_pipelines_load_and_give_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert index["multiview"] == ["anyviews", "Era3DPipeline"]
    again = MVBoostPipeline.from_pretrained(tmp_path / "saved")
    assert isinstance(again.multiview, Era3DPipeline)
    again.set_progress_bar_config(disable=True)
    assert again.multiview._progress_bar_config == {"disable": True}
    expected, found = call(pipe, refine=True), call(again, refine=True)
    assert torch.equal(found.images, expected.images)
    same(found.gaussians, expected.gaussians)


def test_the_dtype_is_that_of_both_models(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    half = MVBoostPipeline.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    assert half.multiview.unet.dtype == half.multiview.image_encoder.dtype == torch.bfloat16
    assert half.reconstructor.unet.conv_in.weight.dtype == torch.bfloat16
    half.set_progress_bar_config(disable=True)
    assert call(half, refine=True).gaussians.means.isfinite().all()
    assert half.to(torch.float64).multiview.unet.dtype == half.reconstructor.dtype == torch.float64


def test_adapters_are_loaded_fused_and_removed(tmp_path):
    with_adapter(build().reconstructor).save_lora_weights(tmp_path / "adapter")
    pipe = build()
    plain = call(pipe).gaussians
    pipe.load_lora_weights(tmp_path / "adapter")
    boosted = call(pipe).gaussians
    assert (boosted.means - plain.means).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"carries the adapters default; call fuse_lora\(\)"):
        pipe.save_pretrained(tmp_path / "lost")
    assert not (tmp_path / "lost").exists()
    pipe.fuse_lora()
    same(call(pipe).gaussians, boosted)
    pipe.save_pretrained(tmp_path / "boosted")
    again = MVBoostPipeline.from_pretrained(tmp_path / "boosted")
    again.set_progress_bar_config(disable=True)
    same(call(again).gaussians, boosted)
    pipe = build()
    pipe.load_lora_weights(tmp_path / "adapter")
    pipe.unload_lora_weights()
    same(call(pipe).gaussians, plain)


def test_an_adapter_of_another_base_or_rank_is_refused(tmp_path):
    with_adapter(small_model(**{**TINY, "down_channels": (32, 64)})).save_lora_weights(tmp_path / "other")
    pipe = build()
    with pytest.raises(ValueError, match="not one of rank 2 for this model"):
        pipe.load_lora_weights(tmp_path / "other")
    with_adapter(build().reconstructor).save_lora_weights(tmp_path / "rank")
    config = tmp_path / "rank" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "r": 8}))
    with pytest.raises(ValueError, match="not one of rank 8 for this model"):
        pipe.load_lora_weights(tmp_path / "rank")
    assert pipe.reconstructor.lora_adapters == []


class Painter(DiffusionPipeline):
    """Another generator: seven even views, the azimuths in another order."""

    image_size = 16
    azimuths = (270.0, 180.0, 30.0, 90.0, 60.0, 0.0, 45.0)

    def __call__(self, image=None, mask=None, condition=None, init_images=None, **options):
        shades = torch.linspace(0.1, 0.9, 7)[:, None, None, None].expand(-1, 3, 16, 16)
        views = shades if init_images is None else init_images
        given = Era3DCondition(
            torch.ones(1, 3, 16, 16), torch.zeros(1, 1, 2, 2), torch.zeros(14, 2), torch.zeros(14, 1, 2)
        )
        return Era3DPipelineOutput(views, views, None, given)


def test_offloading_reaches_the_generator_too():
    pipe = build()
    expected = call(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    assert hasattr(pipe.reconstructor, "_hf_hook") and hasattr(pipe.multiview.unet, "_hf_hook")
    same(call(pipe).gaussians, expected.gaussians)


def test_another_generator_takes_part():
    painter = Painter()
    pipe = MVBoostPipeline(painter, build().reconstructor, view_azimuths=painter.azimuths)
    output = call(pipe)
    shades = torch.linspace(0.1, 0.9, 7)[[5, 3, 1, 0]][:, None, None, None].expand(-1, 3, 16, 16)
    inputs = prepare_images(shades, lgm_cameras(radius=1.7, field_of_view=45.0, size=16), 16)
    with torch.no_grad():
        same(output.gaussians, pipe.reconstructor(inputs[None]).gaussians)
    assert torch.equal(call(pipe, refine=True).images, pipe.render_views(output.gaussians))


def test_a_generator_without_the_needed_views_is_refused():
    with pytest.raises(ValueError, match=r"needed are those at \[0.0, 90.0, 180.0, 270.0\]"):
        MVBoostPipeline(small_pipeline(), small_model(), view_azimuths=(0, 45, 90, 180, 225, 315))
    with pytest.raises(ValueError, match="takes 3 views"):
        MVBoostPipeline(small_pipeline(), small_model(num_views=3))


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (torch.zeros(1, 32, 32), "is empty"),
        (torch.ones(1, 32, 32), "opaque everywhere"),
        (torch.nn.functional.pad(torch.ones(1, 5, 4), (0, 28, 0, 27)), "5x4 pixels"),
    ],
)
def test_photos_that_show_no_object_are_refused(pipe, alpha, message):
    with pytest.raises(ValueError, match=message):
        call(pipe, torch.cat([photo()[:3], alpha]))


def test_a_photo_without_transparency_needs_a_mask_or_a_remover(pipe, monkeypatch):
    with pytest.raises(ValueError, match='background_remover="rembg"'):
        call(pipe, photo()[:3])
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(ImportError, match="pip install"):
        call(pipe, photo()[:3], background_remover="rembg")
    masked = call(pipe, photo()[:3], mask=photo()[3:])
    same(masked.gaussians, call(pipe).gaussians)


def test_several_objects_in_a_photo_are_one_with_a_warning(pipe):
    alpha = torch.zeros(1, 32, 32)
    alpha[:, 4:28, 2:12] = alpha[:, 4:28, 20:30] = 1
    with pytest.warns(UserWarning, match="2 separate parts"):
        assert len(call(pipe, torch.cat([photo()[:3], alpha]))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, r"strength=0.0; accepted are numbers in \(0, 1\]"),
        ({"strength": 1.5, "refine": True}, "strength=1.5"),
        ({"output_type": "latent"}, "accepted are pil, np, pt"),
        ({"init_normals": "zero"}, "accepted are 'first_pass', 'noise' and 'zeros'"),
        ({"num_inference_steps": 0}, "num_inference_steps=0"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_at_once(pipe, options, message):
    with pytest.raises(ValueError, match=message):
        call(pipe, **options)


def test_views_of_half_an_object_are_refused(pipe):
    with pytest.raises(ValueError, match="8 images; accepted are 6 views of each object"):
        pipe.reconstruct(torch.rand(8, 3, 16, 16))


def test_the_input_view_is_optimised_from_the_photo(pipe):
    """Gaussians, a photo of them with transparency, other colours: the photo's pose and error."""
    torch.manual_seed(0)
    means = torch.rand(64, 3) - 0.5
    colors, scales = torch.rand(64, 3), torch.full((64, 3), 0.06)
    rotations = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(64, 4).clone()
    gaussians = Gaussians.from_colors(means, rotations, scales, torch.full((64,), 0.9), colors)
    cameras = lgm_cameras([15.0], 10.0, radius=1.7, field_of_view=45.0, size=48)
    render = render_gaussians(gaussians, cameras)
    photo = torch.cat([(render.images[0] / render.alphas[0].clamp(min=1e-3)).clamp(0, 1), render.alphas[0]])
    search = PoseSearch((0, 20), (0,), (0,), grid_size=16, candidates=2, coarse_steps=15, size=24, steps=25)
    grey = Gaussians.from_colors(means, rotations, scales, gaussians.opacities, 0.5 * colors + 0.25)
    found = pipe.optimize_input_view(grey, photo, search=search, fit=InputViewFit(steps=15))
    assert found.pose.converged and found.error < found.error_before
    assert rotation_angles(found.pose.camera.rotation, cameras.rotation[0]) < 4
    # of the front view, the first quarter
    changed = (found.gaussians.means != grey.means).any(-1)
    assert changed[:16].all() and not changed[16:].any()
    with pytest.raises(ValueError, match="no alpha channel"):
        pipe.optimize_input_view(grey, photo[:3])
