"""Bad input of Era3DPipeline, and of cutting objects out of photos: what the user is told."""

import builtins
import sys

import numpy as np
import pytest
import torch
from models.era3d.small_era3d import photo, seeded, small_pipeline, small_unet
from PIL import Image

from anyviews.foreground import Foreground, check_mask, component_areas, find_foreground, rembg_remover
from anyviews.models.era3d import Era3DPrompts
from anyviews.pipelines.pipeline_era3d import Era3DPipeline


@pytest.fixture(scope="module")
def pipe() -> Era3DPipeline:
    return small_pipeline()


def mask(*boxes: tuple[int, int, int, int], size: int = 64) -> torch.Tensor:
    """[1, size, size], 1 in boxes (top, left, height, width)."""
    found = torch.zeros(1, size, size)
    for top, left, height, width in boxes:
        found[:, top : top + height, left : left + width] = 1
    return found


def test_photo_without_alpha_names_the_ways_out(pipe):
    with pytest.raises(ValueError, match=r"no alpha channel.*mask.*background_remover=\"rembg\".*pip install"):
        pipe(photo()[:3])
    with pytest.raises(ValueError, match="opaque everywhere"):
        pipe(torch.ones(4, 32, 32))


@pytest.mark.parametrize("failure", [SystemExit(1), ImportError("no module named rembg")])
def test_missing_remover_gives_the_pip_line(pipe, monkeypatch, failure):
    """Without onnxruntime, importing rembg ends the interpreter."""
    usual = builtins.__import__

    def refuse(name, *rest, **options):
        if name == "rembg":
            raise failure
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "rembg", raising=False)
    with pytest.raises(ImportError, match=r'pip install "anyviews\[matting\]"'):
        pipe(photo()[:3], background_remover="rembg")


def test_remover_of_rembg_asks_for_the_mask_only(monkeypatch):
    asked = {}

    class Rembg:
        @staticmethod
        def new_session(model):
            return model

        @staticmethod
        def remove(picture, session, only_mask):
            asked.update(session=session, only_mask=only_mask, size=picture.size)
            return Image.fromarray((mask((8, 8, 40, 40))[0] * 255).byte().numpy())

    monkeypatch.setitem(sys.modules, "rembg", Rembg)
    found = find_foreground(torch.rand(3, 64, 64), remover=rembg_remover("u2net"))
    assert asked == {"session": "u2net", "only_mask": True, "size": (64, 64)}
    assert found.box() == (8, 8, 40, 40)
    assert find_foreground(torch.rand(3, 64, 64), remover="rembg").box() == (8, 8, 40, 40)
    with pytest.raises(ValueError, match="background_remover='magic'"):
        find_foreground(torch.rand(3, 64, 64), remover="magic")


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (torch.zeros(1, 64, 64), "is empty"),
        (torch.full((1, 64, 64), 0.3), "is empty"),
        (torch.ones(1, 64, 64), "covers 100.0% of the frame"),
        (mask((0, 0, 64, 64)) - mask((0, 0, 2, 2)), "covers 99.9% of the frame"),
        (mask((20, 20, 5, 15)), "5x15 pixels"),
    ],
)
def test_useless_masks_are_refused(alpha, message):
    with pytest.raises(ValueError, match=message):
        find_foreground(torch.rand(3, 64, 64), alpha, name="chair.png")


def test_several_objects_are_reported():
    two = mask((2, 2, 20, 20), (40, 40, 20, 20))
    assert component_areas(two) == [400, 400]
    with pytest.warns(UserWarning, match="2 separate parts"):
        check_mask(two)


def test_specks_and_diagonal_neighbours_are_no_other_object(recwarn):
    check_mask(mask((2, 2, 40, 40), (50, 50, 3, 3)))
    check_mask(mask((2, 2, 20, 20), (22, 22, 20, 20)))
    assert not recwarn.list


def test_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"64x64 pixels .* mask 32x32"):
        find_foreground(torch.rand(3, 64, 64), mask((1, 1, 20, 20), size=32))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(2, 8, 8), ValueError, r"shape \(2, 8, 8\)"),
        (torch.rand(1, 4, 8, 8), ValueError, "shape"),
        (torch.full((4, 8, 8), 300.0), ValueError, r"beyond \[0, 1\]"),
        (torch.full((4, 8, 8), float("nan")), ValueError, r"beyond \[0, 1\]"),
        ("nowhere.png", FileNotFoundError, "nowhere.png"),
    ],
)
def test_unusable_images_are_named(pipe, image, error, message):
    with pytest.raises(error, match=message):
        pipe.prepare_pictures(image)


def test_broken_file_is_named(pipe, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be"):
        pipe.prepare_pictures(tmp_path / "broken.png")


def test_grey_and_palette_images_work():
    alpha = mask((8, 8, 40, 40))
    grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    found = find_foreground(Image.fromarray(grey), alpha)
    assert found.image.shape == (3, 64, 64)
    palette = Image.fromarray(np.stack([grey] * 3, -1)).convert("P")
    assert find_foreground(palette, alpha).image.shape == (3, 64, 64)


def test_half_transparent_edges_are_mixed_with_the_background():
    cut = Foreground(torch.zeros(3, 32, 32), torch.full((1, 32, 32), 0.75))
    assert torch.allclose(cut.composite(1.0), torch.full((3, 32, 32), 0.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": None}, "either image, or condition"),
        ({"strength": 0.95}, "strength and init_images belong together"),
        ({"strength": 1.5, "init_images": torch.rand(6, 3, 16, 16)}, "strength=1.5"),
        ({"strength": 0.0, "init_images": torch.rand(6, 3, 16, 16)}, "strength=0.0"),
        ({"strength": 0.01, "init_images": torch.rand(6, 3, 16, 16)}, "leaves no step"),
        ({"num_inference_steps": 0}, "num_inference_steps=0"),
        ({"strength": 0.9, "init_images": torch.rand(5, 3, 16, 16), "init_normals": "noise"}, "holds 5 images"),
        ({"strength": 0.9, "init_images": torch.rand(6, 3, 16, 16)}, "needs the condition of an earlier output"),
        ({"strength": 0.9, "init_images": torch.rand(6, 3, 16, 16), "init_normals": "ones"}, "init_normals='ones'"),
        ({"latents": torch.zeros(12, 4, 8, 8)}, "latents has shape"),
        ({"output_type": "jpeg"}, "output_type='jpeg'"),
        ({"callback_on_step_end_tensor_inputs": ["sample"]}, "sample"),
        ({"generator": [seeded(), seeded()]}, "2 generators for 1 objects"),
        ({"prompt_embeds": torch.zeros(6, 2, 6)}, "prompt_embeds has shape"),
        ({"mask": [mask((1, 1, 20, 20))] * 2}, "1 images and 2 masks"),
        ({"image": []}, "0 images"),
        ({"foreground_share": 1.2}, "foreground_share=1.2"),
        ({"prepared": True}, "with prepared=True accepted is"),
    ],
)
def test_impossible_calls_are_refused(pipe, options, message):
    with pytest.raises(ValueError, match=message):
        pipe(**{"image": photo(), "num_inference_steps": 4, **options})


def test_condition_and_image_together_are_refused(pipe):
    condition = pipe.encode(pipe.prepare_pictures(photo()))
    with pytest.raises(ValueError, match="both or neither"):
        pipe(photo(), condition=condition)


def test_parts_of_different_checkpoints_are_refused(pipe):
    parts = pipe.components
    with pytest.raises(ValueError, match="projection_class_embeddings_input_dim"):
        Era3DPipeline(**{**parts, "unet": small_unet(projection_class_embeddings_input_dim=32)})
    with pytest.raises(ValueError, match="prompts are for 6 views of width 7"):
        Era3DPipeline(**{**parts, "prompts": Era3DPrompts(6, 1, 7)})
