"""Every bad input of MVGDPipeline is refused in words that name it."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from strategies import unchecked_shapes
from tiny_pipeline import FLOW, arc_cameras, photos, scene, tiny_pipeline

from anyviews.cameras import Cameras
from anyviews.models.mvgd import MVGDImageEncoder, flow_scheduler, sigmoid_ddim_scheduler
from anyviews.pipelines import MVGDPipeline
from anyviews.views import Views


@pytest.fixture(scope="module")
def pipe() -> MVGDPipeline:
    return tiny_pipeline()


def changed(cameras: Cameras, field: str, index: tuple, value: float) -> Cameras:
    """The same cameras with one number replaced."""
    values = {name: getattr(cameras, name).clone() for name in Cameras.__dataclass_fields__}
    values[field][index] = value
    return Cameras(**values)


def with_pixel(value: float) -> torch.Tensor:
    images = photos(3)
    images[1, 0, 2, 2] = value
    return images


MIRROR = torch.tensor([-1.0, 1, 1, 1])
CAMERAS, TARGETS = arc_cameras(3), arc_cameras(2, start=0.05)
BEHIND = Cameras(TARGETS.intrinsics, TARGETS.camera_to_world.clone(), TARGETS.image_sizes)
BEHIND.camera_to_world[:, :3, [0, 2]] *= -1  # turned by half a turn where they stand

BAD_INPUTS = {
    "no images": ({"images": []}, "images is empty; give at least one photo"),
    "images missing": ({"images": None}, "images is None; give at least one photo"),
    "empty tensor": ({"images": torch.zeros(0, 3, 8, 8)}, "images is empty"),
    "sizes differ": ({"images": [*photos(2), photos(1, 8, 12)[0]]}, r"images\[2\] is 12x8 pixels but images\[0\] is"),
    "no poses": ({"cameras": None}, "images have no cameras; pass cameras="),
    "a pose too few": ({"cameras": CAMERAS[:2]}, r"cameras has batch shape \(2,\); accepted is \[3\]"),
    "a pose too many": ({"cameras": arc_cameras(4)}, r"cameras has batch shape \(4,\); accepted is \[3\]"),
    "one pose": ({"cameras": CAMERAS[0]}, r"cameras has batch shape \(\); accepted is \[3\]"),
    "no rotation": (
        {"cameras": changed(CAMERAS, "camera_to_world", (1, 0, 0), 2.0)},
        r"cameras\[1\]: the rotation in camera_to_world is not orthonormal",
    ),
    "mirrored": (
        {"cameras": Cameras(CAMERAS.intrinsics, CAMERAS.camera_to_world * MIRROR, CAMERAS.image_sizes)},
        r"cameras\[0\]: the rotation in camera_to_world is a mirror",
    ),
    "NaN in an image": ({"images": with_pixel(torch.nan)}, r"images\[1\]: the image holds NaN"),
    "NaN in a pose": (
        {"cameras": changed(CAMERAS, "camera_to_world", (2, 1, 3), torch.nan)},
        r"cameras\[2\]: camera_to_world holds NaN",
    ),
    "infinite target": (
        {"target_cameras": changed(TARGETS, "camera_to_world", (1, 1, 3), torch.inf)},
        r"target_cameras\[1\]: camera_to_world holds NaN or infinity",
    ),
    "zero focal length": (
        {"cameras": changed(CAMERAS, "intrinsics", (0, 0, 0), 0.0)}, r"cameras\[0\]: focal lengths must be positive",
    ),
    "negative focal length": (
        {"target_cameras": changed(TARGETS, "intrinsics", (1, 1, 1), -9.0)},
        r"target_cameras\[1\]: focal lengths must be positive",
    ),
    "8-bit range": ({"images": photos(3) * 255}, r"images\[0\]: image values span .*divide 8-bit values by 255"),
    "negative colour": ({"images": with_pixel(-0.5)}, r"images\[1\]: image values span \[-0.5"),
    "integers": ({"images": [np.zeros((16, 16, 3), np.int64)] * 3}, r"images\[0\] has dtype torch.int64; accepted"),
    "grey images": ({"images": torch.rand(3, 1, 16, 16)}, r"images\[0\] has shape \(1, 16, 16\); accepted are"),
    "one image as a batch": ({"images": torch.rand(3, 16, 16)}, r"images\[0\] has shape \(16, 16\); accepted are"),
    "size of other photos": ({"cameras": arc_cameras(3, 20, 20)}, "cameras are for 20x20 pixels but the images"),
    "no targets": ({"target_cameras": None}, "target_cameras is missing"),
    "one target": ({"target_cameras": TARGETS[0]}, r"target_cameras has batch shape \(\); accepted is \[T\], T >= 1"),
    "empty targets": ({"target_cameras": TARGETS[:0]}, r"target_cameras has batch shape \(0,\); accepted is"),
    "zero baseline": (
        {"images": photos(2), "cameras": CAMERAS[[1, 1]], "target_cameras": CAMERAS[[0, 1]]},
        r"target_cameras\[1\] is at the same place as every context camera \(zero baseline\).*scene_scale",
    ),
    "targets that look away": ({"target_cameras": BEHIND}, r"target_cameras\[0\] sees nothing that any context view"),
    "unknown task": ({"tasks": ("rgb", "normals")}, r"tasks=\('rgb', 'normals'\); accepted are some of"),
    "no task": ({"tasks": ()}, r"tasks=\(\); accepted are some of"),
    "a task twice": ({"tasks": ("rgb", "rgb")}, r"tasks=\('rgb', 'rgb'\); accepted are .* each once"),
    "steps": ({"num_inference_steps": 7}, "num_inference_steps=7 does not divide the 1000 training steps"),
    "no steps": ({"num_inference_steps": 0}, "num_inference_steps=0; accepted are 1 to 1000"),
    "no members": ({"ensemble_size": 0}, "ensemble_size=0; accepted are 1 and more"),
    "no targets in a pass": ({"targets_per_pass": 0}, "targets_per_pass=0; accepted are 1 and more"),
    "no context": ({"max_context_views": 0}, "max_context_views=0; accepted are 1 and more"),
    "output type": ({"output_type": "jpg"}, "output_type='jpg'; accepted are pil, np, pt, latent"),
    "generators": (
        {"ensemble_size": 3, "generator": [torch.Generator()] * 2}, "generator holds 2 generators for ensemble_size=3",
    ),
    "callback tensors": (
        {"callback_on_step_end_tensor_inputs": ("noise",)},
        r"callback_on_step_end_tensor_inputs holds \['noise'\]; accepted are some of \['sample', 'latents'\]",
    ),
    "negative scale": ({"scene_scale": -1.0}, "scene_scale=-1.0; accepted are positive numbers"),
    "NaN scale": ({"scene_scale": float("nan")}, "scene_scale=nan; accepted are positive numbers"),
    "unit of memory": ({"max_memory": "2 bananas"}, "max_memory='2 bananas'; accepted are bytes or a text"),
    "too little memory": ({"max_memory": 1000}, r"max_memory=1000 bytes is too little for 3 context views"),
    "context at the target": (
        {"target_cameras": CAMERAS[[1]], "max_context_views": 1},
        r"max_context_views=1 leaves only photos taken from the place of a target \(zero baseline\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_inputs_are_refused(pipe, name):
    given, message = BAD_INPUTS[name]
    with unchecked_shapes(), pytest.raises(ValueError, match=message):
        pipe(**{**scene(), **given})


def test_photos_of_unknown_kinds_are_refused(pipe):
    with (
        unchecked_shapes(),
        pytest.raises(TypeError, match=r"images\[1\] is a str; accepted are PIL images, numpy arrays and tensors"),
    ):
        pipe(**{**scene(), "images": [photos(1)[0], "photo.jpg", photos(1)[0]]})


def test_views_are_called_by_their_names(pipe):
    views = Views(with_pixel(torch.nan), CAMERAS, names=("a.png", "b.png", "c.png"))
    with pytest.raises(ValueError, match=r"b\.png: the image holds NaN"):
        pipe(**{**scene(), "images": views, "cameras": None})


def test_targets_of_several_sizes_are_refused(pipe):
    mixed = Cameras.cat([arc_cameras(1), arc_cameras(1, 8, 16)])
    with pytest.raises(ValueError, match="size"):
        pipe(**{**scene(), "target_cameras": mixed})


def test_nothing_is_computed_for_bad_inputs(pipe):
    """Memory that runs out in a later pass is found before the first one."""
    calls = []
    arguments = {**scene(targets=8), "incremental": True}
    enough_for_the_first = int(re.search(r"at least (\d+)", refusal(pipe, scene(targets=1)))[1])
    with pytest.raises(ValueError, match="is too little for"):
        pipe(**arguments, max_memory=enough_for_the_first, callback_on_step_end=lambda *a: calls.append(a) or {})
    assert calls == []


def refusal(pipe: MVGDPipeline, arguments: dict) -> str:
    with pytest.raises(ValueError, match="max_memory") as error:
        pipe(**arguments, max_memory=1)
    return str(error.value)


def test_schedulers_of_another_family_are_refused(tmp_path, pipe):
    with pytest.raises(ValueError, match="needs a DDIMScheduler, found FlowMatchEulerDiscreteScheduler"):
        MVGDPipeline(pipe.image_encoder, pipe.transformer, flow_scheduler())
    flow = tiny_pipeline(**FLOW)
    with pytest.raises(ValueError, match="needs a FlowMatchEulerDiscreteScheduler, found DDIMScheduler"):
        MVGDPipeline(flow.image_encoder, flow.transformer, sigmoid_ddim_scheduler())
    with pytest.raises(ValueError, match="predicts 'sample' but the scheduler expects 'epsilon'"):
        MVGDPipeline(pipe.image_encoder, pipe.transformer, sigmoid_ddim_scheduler("epsilon"))
    pipe.save_pretrained(tmp_path)
    for scheduler in (flow_scheduler(), sigmoid_ddim_scheduler("v_prediction")):
        with pytest.raises(ValueError, match="scheduler"):
            MVGDPipeline.from_pretrained(tmp_path, scheduler=scheduler)


def test_schedulers_replaced_later_are_checked_too():
    pipe = tiny_pipeline()
    pipe.scheduler = flow_scheduler()
    with pytest.raises(ValueError, match="needs a DDIMScheduler"):
        pipe(**scene())


def test_encoders_of_another_width_are_refused(pipe):
    with pytest.raises(ValueError, match="image_encoder has channels=6 but transformer has image_feature_dim=8"):
        MVGDPipeline(MVGDImageEncoder("conv_stem", 6), pipe.transformer, pipe.scheduler)


@pytest.mark.parametrize("component", ["transformer", "image_encoder"])
@pytest.mark.parametrize("damage", ["missing", "unknown", "truncated"])
def test_damaged_checkpoints_are_refused(tmp_path, pipe, component, damage):
    pipe.save_pretrained(tmp_path)
    file = tmp_path / component / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    first = next(iter(weights))
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(OSError, match=re.escape(str(file))):
            MVGDPipeline.from_pretrained(tmp_path)
        return
    if damage == "missing":
        del weights[first]
        message = rf"{component} lacks weights of \w+: {re.escape(first)};"
    else:
        weights["surplus.weight"] = torch.ones(1)
        message = rf"{component} holds unknown weights of \w+: surplus\.weight;"
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=message):
        MVGDPipeline.from_pretrained(tmp_path)


def test_single_task_models_refuse_the_other_task():
    pipe = tiny_pipeline(tasks=("depth",))
    assert pipe(**scene()).images is None
    with pytest.raises(ValueError, match=r"tasks=\('rgb',\); accepted are some of \('depth',\)"):
        pipe(**scene(), tasks=("rgb",))
