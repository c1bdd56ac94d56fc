"""Whatever a row holds, decoding it gives a valid sample or an error that names the scene and the column."""

import io
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_schema import make_surface, make_views

from anyviews.data.samples import Sample
from anyviews.data.schema import PICTURE_COLUMNS, RowError, decode_row, encode_sample, features
from anyviews.environment import Environment


def whole_row():
    views, surface = make_views(2, 9, 7), make_surface(2, 9, 7)
    maps = {name: getattr(surface, name) for name in ("normals", "radiance", "base_colors", "roughness", "metallic")}
    views = type(views)(views.images, views.cameras, views.masks, views.depths, views.names, **maps)
    return encode_sample(Sample("hall", views, environment=Environment(torch.rand(3, 4, 8))))


ROW = whole_row()
ENCODED = [*PICTURE_COLUMNS, "radiance", "environment"]


def with_bytes(column, change):
    """The row with the bytes of the first picture of a column changed."""
    if column == "environment":
        return ROW | {column: change(ROW[column])}
    first, *others = ROW[column]
    changed = {**first, "bytes": change(first["bytes"])} if isinstance(first, dict) else change(first)
    return ROW | {column: [changed, *others]}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ENCODED), st.integers(0, 10**6), st.integers(1, 8), st.booleans())
def test_damaged_bytes(column, seed, flips, cut):
    noise = random.Random(seed)

    def damage(data):
        data = bytearray(data)
        for _ in range(flips):
            data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
        return bytes(data[: noise.randrange(len(data))] if cut else data)

    try:
        decoded = decode_row(with_bytes(column, damage))
    except RowError as error:
        assert (error.scene, error.column) == ("hall", column)
        assert str(error).startswith(f"scene hall: column {column}")
    else:
        assert decoded.views.images.shape == (2, 3, 9, 7)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([name for name in features() if name not in ("scene_id", "schema_version")]),
    st.sampled_from(
        [None, [], 0, -1, 10**9, "text", b"bytes", float("nan"), [None] * 2, [[], []], [[[1.0]], [[2.0]]]]
    ),
)
def test_wrong_values(column, value):
    try:
        decoded = decode_row(ROW | {column: value})
    except RowError as error:
        assert error.scene == "hall" and "scene hall: column" in str(error)
    else:
        decoded.views.validate()


@pytest.mark.parametrize("value", [None, "", 0])
def test_scenes_without_a_name(value):
    with pytest.raises(RowError, match="column scene_id is empty; accepted is a name"):
        decode_row(ROW | {"scene_id": value})


def picture(mode, size=(7, 9), format="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format=format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("column", "data", "message"),
    [
        ("images", picture("I;16"), "of mode I;16; accepted are L and RGB"),
        ("images", picture("P"), "of mode P; accepted are L and RGB"),
        ("images", picture("RGBA"), "of mode RGBA; accepted are L and RGB"),
        ("images", picture("CMYK", format="JPEG"), "of mode CMYK; accepted are L and RGB"),
        ("images", picture("L"), r"has shape \(1, 9, 7\) but the row says \(3, 9, 7\)"),
        ("masks", picture("RGB"), r"has shape \(3, 9, 7\) but the row says \(1, 9, 7\)"),
        ("depths", picture("L"), "of mode L; accepted are I;16"),
        ("images", picture("1", (20000, 20000)), "could be decompression bomb"),
    ],
)
def test_pictures_of_another_kind(column, data, message):
    with pytest.raises(RowError, match=f"scene hall: column {column}, view 0 .*{message}"):
        decode_row(with_bytes(column, lambda _: data))


def test_cameras_that_are_none():
    poses = torch.tensor(ROW["camera_to_world"])
    poses[1, :3, :3] *= 2
    for changes in (
        {"camera_to_world": poses.tolist()},
        {"intrinsics": torch.full((2, 3, 3), torch.nan).tolist()},
        {"intrinsics": None},
    ):
        with pytest.raises(RowError, match="scene hall: column intrinsics or camera_to_world"):
            decode_row(ROW | changes)
