"""Bad and unusual input of MVDust3rPlusPipeline: what is refused, what is borne, and what is said about it."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from known_scenes import SIDE, known_pipeline, room, small_pipeline
from PIL import Image
from strategies import unchecked_shapes
from tiny_pipeline import tiny_pipeline

from anyviews.formats.image_folder import to_uint8
from anyviews.geometry.view_similarity import view_similarity
from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusImageProcessor
from anyviews.pipelines.inputs_mvdust3r import read_photos
from anyviews.pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline
from anyviews.pipelines.planning_mvdust3r import operations, plan_reconstruction, shared_views


PROCESSOR = MVDust3rPlusImageProcessor(SIDE)


@pytest.fixture(scope="module")
def pipe() -> MVDust3rPlusPipeline:
    return small_pipeline()


def arrays(count: int = 3) -> list[np.ndarray]:
    return [to_uint8(image.movedim(0, -1)) for image in room(count).images]


def write(folder: Path, count: int = 3, suffix: str = "png") -> list[Path]:
    paths = [folder / f"{i}.{suffix}" for i in range(count)]
    for path, array in zip(paths, arrays(count), strict=True):
        Image.fromarray(array).save(path)
    return paths


def test_a_single_photo_is_refused_and_may_be_given_twice(pipe):
    with pytest.raises(ValueError, match=r"found 1 photo; two or more .* give it twice"):
        pipe(arrays(1))
    with unchecked_shapes(), pytest.raises(ValueError, match="a single photo was given"):
        pipe(Image.fromarray(arrays(1)[0]))
    with pytest.warns(UserWarning, match=r"1 photos are copies of others: photo_001.png is photo_000.png"):
        output = pipe([arrays(1)[0]] * 2)
    assert len(output.cameras) == 2


def test_photos_that_do_not_overlap_are_named():
    views = room()
    pipe = known_pipeline(views)
    pipe.model.points[2] = torch.randn(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    pipe.model.views.depths[2] = 0  # of which the network is not sure
    with pytest.warns(UserWarning) as caught:
        output = pipe(arrays(6))
    messages = [str(item.message) for item in caught]
    assert any(m.startswith("the confidence of 1 of 6 photos is low: photo_002.png;") for m in messages)
    assert any(m.startswith("no pose was found for 1 of 6 photos: photo_002.png;") for m in messages)
    assert output.found.tolist() == [True, True, False, True, True, True]
    assert not output.kept[2].any() and not output.depths[2].any()
    assert torch.equal(output.cameras.camera_to_world[2], torch.eye(4))


def test_files_are_turned_upright_and_named(tmp_path):
    paths = write(tmp_path, 3, "jpg")
    tall = Image.fromarray(arrays(1)[0][:, :32])
    exif = Image.Exif()
    exif[0x0112] = 6
    tall.rotate(90, expand=True).save(paths[1], exif=exif)
    views = read_photos(tmp_path, PROCESSOR)
    assert views.names == ("0.jpg", "1.jpg", "2.jpg")
    assert views.record.original_sizes.tolist() == [[SIDE, SIDE], [SIDE, 32], [SIDE, SIDE]]
    direct = read_photos([tall, tall], PROCESSOR)
    assert (views.images[1] - direct.images[0]).abs().mean() < 0.1


def test_files_of_the_same_name_keep_their_folders(tmp_path):
    paths = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        paths += write(tmp_path / name, 1)
    names = read_photos(paths, PROCESSOR).names
    assert len(set(names)) == 2 and names[0].endswith("left/0.png")


def test_photos_of_every_kind_are_the_same_photo(tmp_path):
    (array,) = arrays(1)
    opaque = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    deep = array.astype(np.uint16) * 257
    Image.fromarray(array).save(tmp_path / "photo.png")
    kinds = [
        array, opaque, deep, torch.from_numpy(array).movedim(-1, 0), torch.from_numpy(opaque).movedim(-1, 0),
        array.astype(np.float32) / 255, torch.from_numpy(array).movedim(-1, 0) / 255, Image.fromarray(array),
        Image.fromarray(opaque), tmp_path / "photo.png", str(tmp_path / "photo.png"),
    ]  # fmt: skip
    images = read_photos(kinds, PROCESSOR).images
    assert (images - images[0]).abs().max() < 1e-3


def test_gray_photos_of_16_bits(tmp_path):
    gray = arrays(1)[0][..., 0]
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    images = read_photos([gray, deep, tmp_path / "deep.png"], PROCESSOR).images
    assert (images - images[0]).abs().max() < 1e-2
    assert torch.equal(images[:, 0], images[:, 2])


def test_transparency_becomes_white():
    (array,) = arrays(1)
    clear = np.dstack([array, np.zeros(array.shape[:2], np.uint8)])
    images = read_photos([clear, Image.fromarray(clear), torch.from_numpy(clear).movedim(-1, 0)], PROCESSOR).images
    assert images.min() == 1


def test_a_damaged_file_is_named_and_left_out_on_request_only(tmp_path, pipe):
    paths = write(tmp_path)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"^1\.png: .*skip_unreadable=True"):
        pipe(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 3 photos are left out: 1\.png"):
        views = read_photos(tmp_path, PROCESSOR, skip_unreadable=True)
    assert views.names == ("0.png", "2.png")
    paths[2].write_text("no image")
    with pytest.raises(ValueError, match="found 1 photo that can be read, of 3"):
        read_photos(tmp_path, PROCESSOR, skip_unreadable=True)


def test_missing_files_and_folders(tmp_path, pipe):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        pipe(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no photos"):
        pipe(tmp_path)
    (path,) = write(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match="is a single photo"):
        pipe(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        pipe([path, tmp_path / "gone.png"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"references": [0, 3]}, "references=[0, 3]; accepted are different indices from 0 to 2"),
        ({"references": [1, 1]}, "references=[1, 1]; accepted are different indices"),
        ({"references": "best"}, "references='best'; accepted are 'auto' and a list"),
        ({"references": [1]}, "references=[1] must be 2 or more"),
        ({"confidence_percentile": 100}, "confidence_percentile=100; accepted are 0"),
        ({"max_views": 1}, "max_views=1; accepted are 2 and more"),
        ({"output_type": "pil"}, "output_type='pil'; accepted are pt, np"),
        ({"max_memory": "lots"}, "max_memory='lots'; accepted are bytes or a text"),
        ({"max_memory": 1000}, "max_memory=1000 bytes is too little for 3 photos, even 3 at a time; at least"),
        ({"intrinsics": torch.eye(3).expand(2, 3, 3)}, "accepted are [3, 3] for all photos and [3, 3, 3]"),
    ],
)
def test_arguments_that_cannot_be_used(pipe, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pipe(arrays(), **options)


def test_cameras_that_do_not_fit_the_photos(pipe):
    cameras = room(3).cameras
    with pytest.raises(ValueError, match=r"cameras has batch shape \(2,\); accepted is \[3\]"):
        pipe(arrays(), cameras=cameras[:2])
    with pytest.raises(ValueError, match=r"camera of photo_000.png is for 20x30 pixels but the photo has 48x48"):
        pipe(arrays(), cameras=cameras.resize(20, 30))
    with pytest.raises(ValueError, match="cameras and intrinsics were both given"):
        pipe(arrays(), cameras=cameras, intrinsics=cameras.intrinsics)
    broken = type(cameras)(cameras.intrinsics * -1, cameras.camera_to_world, cameras.image_sizes)
    with pytest.raises(ValueError, match=r"photo_000\.png: focal lengths must be positive"):
        pipe(arrays(), cameras=broken)


def test_photos_that_are_no_photos(pipe):
    with pytest.raises(ValueError, match=re.escape("photo_001.png: a tensor of shape (5, 8, 8)")):
        pipe([arrays()[0], torch.rand(5, 8, 8)])
    with pytest.raises(ValueError, match=r"photo_001.png: .*NaN"):
        pipe([arrays()[0], torch.full((3, 8, 8), torch.nan)])
    with unchecked_shapes(), pytest.raises(ValueError, match=r"photo_001.png"):
        pipe([arrays()[0], torch.full((3, 8, 8), 255.0)])


def test_checkpoints_of_other_methods_are_refused(tmp_path, pipe):
    tiny_pipeline().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"Pipeline .* expected .*'image_processor', 'model'"):
        MVDust3rPlusPipeline.from_pretrained(tmp_path / "other")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text('{"model_type": "lgm"}')
    with pytest.raises(ValueError, match="holds a model of type 'lgm'; MVDust3rPlusPipeline needs"):
        MVDust3rPlusPipeline.from_pretrained(tmp_path / "config")
    with pytest.raises((OSError, ValueError), match="nothing"):
        MVDust3rPlusPipeline.from_pretrained(tmp_path / "nothing")
    with pytest.raises(ValueError, match="both sides must be multiples of 8"):
        MVDust3rPlusPipeline(pipe.model, MVDust3rPlusImageProcessor(50))


def test_variants_without_gaussians_and_with_one_reference():
    for overrides in ({"use_gaussians": False}, {"num_references": 1}):
        pipe = small_pipeline(**overrides)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = pipe(arrays())
        assert len(output.references[0]) == pipe.model.config.num_references if "num_references" in overrides else 3
        assert (output.gaussians is None) == (not pipe.model.config.use_gaussians)
        assert len(output.to_scene().point_cloud()) == int(output.kept.sum())


def test_less_memory_makes_passes_smaller():
    config = MVDust3rPlusConfig()
    similarity = view_similarity(torch.rand(30, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    whole = plan_reconstruction(config, similarity, (224, 224), max_views=30)
    assert len(whole.groups) == 1 and whole.head_views == 8
    for limit in (whole.peak_bytes, whole.peak_bytes // 2, whole.peak_bytes // 3):
        plan = plan_reconstruction(config, similarity, (224, 224), max_views=30, max_memory=limit)
        assert plan.peak_bytes <= limit
        assert set().union(*plan.groups) == set(range(30))
        shared = shared_views(max(map(len, plan.groups)))
        for number, group in enumerate(plan.groups[1:], start=1):
            assert len(set(group) & set().union(*plan.groups[:number])) == shared
        assert all(set(refs) <= set(group) for refs, group in zip(plan.references, plan.groups, strict=True))
    with pytest.raises(ValueError, match=r"references=.* were given, but 30 photos take 2 passes"):
        plan_reconstruction(config, similarity, (224, 224), references=[0, 1])


@pytest.mark.parametrize("views, tera", [(4, 3.4), (8, 7.0), (12, 10.8), (16, 14.7), (24, 23.0), (100, 136.0)])
def test_operations_are_those_counted_by_hand(views, tera):
    assert operations(MVDust3rPlusConfig(), views, 4, (224, 224)) / 1e12 == pytest.approx(tera, rel=0.05)
