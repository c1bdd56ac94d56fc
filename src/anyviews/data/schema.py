"""The sample schema: one parquet row is one scene or object with its views.

Images and masks are 8-bit: a value that is a multiple of 1/255 comes back exactly (from PNG; JPEG is lossy), any other
within 1/510. Depth is a 16-bit PNG of log2(depth) over [2**-16, 2**16] world units, so that it needs no scale of its
own: the relative error is at most DEPTH_RELATIVE_ERROR, and 0 (unknown) stays 0. On rendered rooms of 256 pixels this
takes less than a tenth of the bytes of deflated float32, and half of float16's, which is three times less precise.
"""

import io
from typing import Any, Literal

import datasets
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..cameras import Cameras
from ..scene import Scale
from ..views import Views


SCHEMA_VERSION = 1

# Columns of encoded pixels; readers that shuffle before they decode take them with decode=False.
PIXEL_COLUMNS = ("images", "masks", "depths")

DEPTH_LOG2_RANGE = (-16.0, 16.0)
DEPTH_LEVELS = 65534  # levels above the first; the value 0 is kept for unknown depth

# half a level, and the rounding of float32 on top
DEPTH_RELATIVE_ERROR = 2 ** (32 / DEPTH_LEVELS / 2) - 1 + 1e-6

Row = dict[str, Any]


def features(decode: bool = True) -> datasets.Features:
    """Columns and types of a row; `decode=False` leaves images, masks and depths as encoded bytes."""
    pictures = datasets.List(datasets.Image(decode=decode))
    matrices = datasets.List(datasets.List(datasets.List(datasets.Value("float32"))))
    return datasets.Features(
        {
            "scene_id": datasets.Value("string"),
            "schema_version": datasets.Value("int32"),
            "names": datasets.List(datasets.Value("string")),
            "height": datasets.Value("int32"),
            "width": datasets.Value("int32"),
            "images": pictures,
            "masks": pictures,
            "depths": pictures,
            "intrinsics": matrices,
            "camera_to_world": matrices,
            "scale": datasets.Value("string"),
            "licence": datasets.Value("string"),
            "source": datasets.Value("string"),
        }
    )


def encode_sample(
    key: str,
    views: Views,
    *,
    image_format: Literal["png", "jpeg"] = "png",
    quality: int = 92,
    scale: Scale = "relative",
    licence: str = "",
    source: str = "",
) -> Row:
    """Encode one scene as a row.

    What the views lack (cameras, masks, depths) becomes a null; their record of crops is not kept: the stored images
    become the originals.

    Args:
        key: scene id, unique in the dataset.
        views: the scene; poses and intrinsics are stored as float32.
        image_format: "png" (exact for 8-bit images) or "jpeg" (about a seventh of the bytes).
        quality: of JPEG, 1 to 95.
        scale: what a world unit means.
        licence: of the images, as a Hub licence identifier ("cc-by-4.0").
        source: where the scene came from.

    Raises:
        ValueError: naming the scene, for values that cannot be stored.
    """
    try:
        views.validate()
        depths = None if views.depths is None else [_depth_bytes(d[0]) for d in views.depths]
    except ValueError as error:
        raise ValueError(f"scene {key}: {error}") from error
    options = {"format": "PNG"} if image_format == "png" else {"format": "JPEG", "quality": quality}
    cameras = views.cameras
    return {
        "scene_id": key,
        "schema_version": SCHEMA_VERSION,
        "names": list(views.names),
        "height": views.height,
        "width": views.width,
        "images": [_picture(_to_8_bit(image.movedim(0, -1)), **options) for image in views.images],
        "masks": None if views.masks is None else [_picture(_to_8_bit(m[0]), format="PNG") for m in views.masks],
        "depths": depths,
        "intrinsics": None if cameras is None else cameras.intrinsics.float().tolist(),
        "camera_to_world": None if cameras is None else cameras.camera_to_world.float().tolist(),
        "scale": scale,
        "licence": licence,
        "source": source,
    }


def decode_row(row: Row) -> tuple[str, Views]:
    """Decode a row that was read with `features(decode=False)` into (scene id, views).

    Raises:
        ValueError: naming the scene and the column that cannot be decoded, or a row of another schema version.
    """
    key, size = row["scene_id"], (row["height"], row["width"])
    if row["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"scene {key}: column schema_version is {row['schema_version']} but this version of anyviews reads "
            f"{SCHEMA_VERSION}; write the dataset again with utils/make_shards.py, or install the matching version"
        )
    count = len(row["images"] or ())
    for name in ("images", "names", "masks", "depths"):
        if count == 0 or (row[name] is not None and len(row[name]) != count):
            raise ValueError(f"scene {key}: column {name} has {len(row[name] or ())} entries for {count} images")
    cameras = None
    if row["intrinsics"] is not None:
        cameras = Cameras.create(
            _decode_matrices(row["intrinsics"], key, "intrinsics", (count, 3, 3)),
            _decode_matrices(row["camera_to_world"], key, "camera_to_world", (count, 4, 4)),
            *size,
        )
    pixels = {name: _decode_pictures(row[name], key, name, size) for name in PIXEL_COLUMNS}
    return key, Views(cameras=cameras, names=tuple(row["names"] or ()), **pixels)


def _to_8_bit(values: Float[Tensor, "..."]) -> np.ndarray:
    return values.mul(255).round().clamp(0, 255).byte().cpu().numpy()


def _picture(pixels: np.ndarray, **options) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def _depth_bytes(depth: Float[Tensor, "height width"]) -> dict[str, Any]:
    low, high = DEPTH_LOG2_RANGE
    known = depth > 0
    wrong = (depth < 0) | ~depth.isfinite() | (known & ((depth < 2**low) | (depth > 2**high)))
    if wrong.any():
        raise ValueError(
            f"a depth of {depth[wrong][0].item():g} cannot be stored; accepted are 0 (unknown) and "
            f"{2**low:.3g} to {2**high:g} world units (rescale the world with Cameras.scaled)"
        )
    level = torch.log2(torch.where(known, depth, 1).double()).sub(low).mul(DEPTH_LEVELS / (high - low)).round() + 1
    return _picture(torch.where(known, level, 0).cpu().numpy().astype(np.uint16), format="PNG")


def _decode_pictures(
    pictures: list[dict[str, Any]] | None, key: str, column: str, size: tuple[int, int]
) -> Float[Tensor, "views channels height width"] | None:
    if pictures is None:
        return None
    decoded = []
    for view, picture in enumerate(pictures):
        try:
            pixels = np.array(Image.open(io.BytesIO(picture["bytes"])))
        # Pillow raises OSError and SyntaxError for broken files, and the row may hold no bytes at all
        except (OSError, SyntaxError, TypeError) as error:
            raise ValueError(f"scene {key}: column {column}, view {view} cannot be decoded: {error}") from error
        accepted = {"images": (*size, 3)}.get(column, size)
        if pixels.shape != accepted:
            raise ValueError(
                f"scene {key}: column {column}, view {view} has shape {pixels.shape} but the row says {accepted}"
            )
        decoded.append(pixels)
    if column == "depths":
        return _depth_from_levels(np.stack(decoded))
    stacked = torch.from_numpy(np.stack(decoded))  # [V, H, W] or [V, H, W, 3]
    return (stacked.movedim(-1, 1) if column == "images" else stacked[:, None]).float() / 255


def _depth_from_levels(levels: np.ndarray) -> Float[Tensor, "views 1 height width"]:
    low, high = DEPTH_LOG2_RANGE
    level = torch.from_numpy(levels.astype(np.int32))[:, None]
    depth = torch.exp2((level - 1).double() * ((high - low) / DEPTH_LEVELS) + low).float()
    return torch.where(level > 0, depth, 0)


def _decode_matrices(
    values: list, key: str, column: str, shape: tuple[int, int, int]
) -> Float[Tensor, "views rows columns"]:
    try:
        return torch.tensor(values, dtype=torch.float32).reshape(shape)
    # ragged lists, nulls, or another number of values
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"scene {key}: column {column} does not hold {shape} numbers: {error}") from error
