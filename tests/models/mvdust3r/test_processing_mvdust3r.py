"""Photos become the network's images as the authors make them, and every crop can be undone."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from golden_mvdust3r import FOLDER, assert_close, golden, needs_golden
from hypothesis import given, settings
from PIL import Image
from transformers import AutoImageProcessor

from anyviews.cameras import Cameras
from anyviews.models.mvdust3r import (
    MVDust3rPlusConfig,
    MVDust3rPlusImageProcessor,
    MVDust3rPlusModel,
    MVDust3rPlusOutput,
    pixel_gaussians,
    spread_references,
)
from anyviews.views import Views


def photo(height: int, width: int) -> Image.Image:
    row, column = np.mgrid[:height, :width]
    pixels = np.stack([row % 256, column % 256, (row + column) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@needs_golden
def test_preparation_equals_the_official_one():
    """Portrait and landscape, shrunk, enlarged and unchanged."""
    fixture = golden("preprocess")
    photos = [fixture[f"raw{index}"].numpy() for index in range(4)]
    pixel_values = MVDust3rPlusImageProcessor()(photos).pixel_values
    assert_close(pixel_values[0], torch.stack([fixture[f"out{index}"] for index in range(4)]), 1e-6)


@needs_golden
def test_spread_references_equal_the_official_ones():
    orders = json.loads((FOLDER / "view_orders.json").read_text(encoding="utf-8"))["demo_orders"]
    for count, order in orders.items():
        found = spread_references(int(count))
        # the first path does not depend on the order of the others
        assert found[0] == order[0] == 0
        assert set(found) == set(order[:4])


def test_all_kinds_of_photos_are_the_same(tmp_path):
    picture = photo(40, 60)
    picture.save(tmp_path / "a.png")
    array = np.array(picture)
    tensor = torch.from_numpy(array).movedim(-1, 0) / 255
    processor = MVDust3rPlusImageProcessor(32)
    views = processor.prepare([picture, array, tensor, tmp_path / "a.png", str(tmp_path / "a.png")])
    assert views.images.shape == (5, 3, 32, 32)
    assert torch.equal(views.images, views.images[:1].expand_as(views.images))
    assert views.names == ("view 0", "view 1", "view 2", "a.png", "a.png")
    assert torch.equal(processor.pixel_values(views)[0], views.images * 2 - 1)


def test_orientation_and_transparency():
    turned = photo(40, 60)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.info["exif"] = exif.tobytes()
    clear = Image.new("RGBA", (60, 40), (255, 0, 0, 0))
    views = MVDust3rPlusImageProcessor(16).prepare([turned, clear])
    assert views.record.original_sizes.tolist() == [[60, 40], [40, 60]]
    assert (views.images[1] == 1).all()


def test_cameras_depth_and_masks_follow():
    intrinsics = torch.tensor([[50.0, 0.0, 30.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]])
    camera = Cameras.create(intrinsics, torch.eye(4), height=40, width=60)
    depth = torch.arange(40 * 60.0).view(1, 1, 40, 60) + 1
    views = Views(torch.rand(1, 3, 40, 60), camera.reshape(1), torch.ones(1, 1, 40, 60), depth)
    prepared = MVDust3rPlusImageProcessor((16, 32)).prepare(views)
    assert prepared.images.shape[-2:] == prepared.depths.shape[-2:] == prepared.masks.shape[-2:] == (16, 32)
    original = prepared.original_cameras()
    torch.testing.assert_close(original.intrinsics, views.cameras.intrinsics)
    assert original.image_sizes.tolist() == [[40, 60]]
    assert torch.isin(prepared.depths, depth).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 50), st.integers(8, 50), st.sampled_from([(16, 16), (16, 32), (32, 16)]))
def test_any_photo_fills_the_image_and_is_restored(height, width, size):
    """The image is covered, the record leads each pixel back inside the photo, and undoing finds its value there."""
    processor = MVDust3rPlusImageProcessor(size)
    rows = torch.arange(float(height))[:, None].expand(height, width)
    columns = torch.arange(float(width)).expand(height, width)
    ramp = torch.stack([rows / height, columns / width, torch.zeros(height, width)])
    views = processor.prepare([ramp])
    assert (views.height, views.width) == size
    corners = torch.tensor([[[0.0, 0.0], [size[1], size[0]]]])
    first, last = views.record.to_original(corners)[0]
    assert (first >= -1e-3).all() and (last <= torch.tensor([width, height]) + 1e-3).all()
    scale = views.record.scale[0]
    assert abs(scale[0] / scale[1] - 1) < 0.1  # both sides are rounded

    restored = processor.undo(views.images, views.record, fill=-1.0)[0]
    assert restored.shape == (3, height, width)
    known = restored[0] >= 0
    assert known.any()
    step = (1 / views.record.scale[0]).clamp(min=1) * 2  # original pixels that one network pixel may stand for
    assert ((restored[0] - ramp[0])[known].abs() * height <= step[1] + 2).all()
    assert ((restored[1] - ramp[1])[known].abs() * width <= step[0] + 2).all()


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ([], "give a list of two or more photos"),
        ("photo.jpg", "give a list of two or more photos"),
        ([np.zeros((8, 8))], r"float64 \(8, 8\) was given; accepted is uint8"),
        ([torch.zeros(1, 8, 8)], r"\(1, 8, 8\) was given; accepted is \[3, H, W\]"),
        ([torch.full((3, 8, 8), 255.0)], "accepted is sRGB in"),
    ],
)
def test_unusable_photos(photos, message):
    with pytest.raises(ValueError, match=message):
        MVDust3rPlusImageProcessor(16).prepare(photos)


def test_saving(tmp_path):
    MVDust3rPlusImageProcessor((32, 48)).save_pretrained(tmp_path)
    MVDust3rPlusConfig.from_size("tiny").save_pretrained(tmp_path)
    for loader in (MVDust3rPlusImageProcessor, AutoImageProcessor):
        loaded = loader.from_pretrained(tmp_path)
        assert isinstance(loaded, MVDust3rPlusImageProcessor)
        assert loaded.prepare([photo(60, 40)]).images.shape[-2:] == (32, 48)
    with pytest.raises(ValueError, match="one side or"):
        MVDust3rPlusImageProcessor((1, 2, 3))


def test_gaussians_of_pixels():
    model = MVDust3rPlusModel.from_size("tiny").eval()
    images = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        output = model(images, all_paths=True)
    gaussians = pixel_gaussians(output, images)
    gaussians.validate()
    assert gaussians.batch_shape == (2, 3)
    assert len(gaussians) == 3 * 16 * 16
    torch.testing.assert_close(gaussians.means[1, 2].view(3, 16, 16, 3), output.points[1, 2])
    colors = gaussians.colors[1, 2].view(3, 16, 16, 3)
    torch.testing.assert_close(colors, images[1].movedim(1, -1) / 2 + 0.5, atol=1e-6, rtol=0)
    unit = output.points.flatten(2, 4).norm(dim=-1).mean(-1)[..., None, None]
    assert ((gaussians.scales / unit - 1e-4 >= -1e-7) & (gaussians.scales / unit <= 4e-3 + 1e-7)).all()
    with pytest.raises(ValueError, match="use_gaussians=True"):
        pixel_gaussians(MVDust3rPlusOutput(points=output.points), images)
