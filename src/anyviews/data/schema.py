"""The sample schema: one parquet row is one scene or object with its views."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import datasets
import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..environment import Environment
from ..scene import Scale
from ..views import Views
from . import pixels
from .samples import Sample


SCHEMA_VERSION = 2

# Rows of these versions are read; columns that an older one lacks are null.
READABLE_VERSIONS = (1, 2)

# Columns of one encoded picture per view; readers that shuffle before they decode take them with decode=False.
PICTURE_COLUMNS = ("images", "masks", "depths", "normals", "base_colors", "materials")

# Columns that a reader may leave out.
OPTIONAL_COLUMNS = (*PICTURE_COLUMNS[1:], "radiance", "environment")

# Columns that version 1 did not have.
ADDED_COLUMNS = ("normals", "base_colors", "materials", "radiance", "environment")

Row = dict[str, Any]


class RowError(ValueError):
    """A row that cannot be decoded; `scene` and `column` say where."""

    def __init__(self, scene: str, column: str, reason: str):
        super().__init__(f"scene {scene}: column {column}{reason}")
        self.scene, self.column = scene, column


def features(decode: bool = True) -> datasets.Features:
    """Columns and types of a row; `decode=False` leaves pictures as encoded bytes."""
    pictures = datasets.List(datasets.Image(decode=decode))
    matrices = datasets.List(datasets.List(datasets.List(datasets.Value("float32"))))
    return datasets.Features(
        {
            "scene_id": datasets.Value("string"),
            "schema_version": datasets.Value("int32"),
            "names": datasets.List(datasets.Value("string")),
            "height": datasets.Value("int32"),
            "width": datasets.Value("int32"),
            **dict.fromkeys(PICTURE_COLUMNS, pictures),
            "radiance": datasets.List(datasets.Value("binary")),
            "environment": datasets.Value("binary"),
            "intrinsics": matrices,
            "camera_to_world": matrices,
            "scale": datasets.Value("string"),
            "licence": datasets.Value("string"),
            "source": datasets.Value("string"),
        }
    )


def encode_sample(sample: Sample, image_format: Literal["png", "jpeg"] = "png", quality: int = 92) -> Row:
    """Encode one scene as a row.

    What the sample lacks (cameras, masks, maps, environment) becomes a null; its seed and its record of crops are not
    kept: the stored images become the originals. `pixels` says how exact each kind of picture is.

    Args:
        sample: poses and intrinsics are stored as float32.
        image_format: "png" (exact for 8-bit images) or "jpeg" (about a seventh of the bytes).
        quality: of JPEG, 1 to 95.

    Raises:
        ValueError: naming the scene, for values that cannot be stored.
    """
    views, cameras = sample.views, sample.views.cameras
    options = {"format": "PNG"} if image_format == "png" else {"format": "JPEG", "quality": quality}
    try:
        views.validate()
        environment = None if sample.environment is None else sample.environment.validate().radiance
        row = {
            "images": _pictures(views.images, lambda image: pixels.encode_picture(image, **options)),
            "masks": _pictures(views.masks, pixels.encode_picture),
            "depths": _pictures(views.depths, pixels.encode_depth),
            "normals": _pictures(views.normals, pixels.encode_normals),
            "base_colors": _pictures(views.base_colors, pixels.encode_picture),
            "materials": _pictures(_materials(views), pixels.encode_picture),
            "radiance": None if views.radiance is None else [pixels.encode_radiance(r) for r in views.radiance],
            "environment": None if environment is None else pixels.encode_radiance(environment),
        }
    except ValueError as error:
        raise ValueError(f"scene {sample.key}: {error}") from error
    return {
        "scene_id": sample.key,
        "schema_version": SCHEMA_VERSION,
        "names": list(views.names),
        "height": views.height,
        "width": views.width,
        **row,
        "intrinsics": None if cameras is None else cameras.intrinsics.float().tolist(),
        "camera_to_world": None if cameras is None else cameras.camera_to_world.float().tolist(),
        "scale": sample.scale,
        "licence": sample.licence,
        "source": sample.source,
    }


def decode_row(row: Row) -> Sample:
    """Decode a row that was read with `features(decode=False)`; the sample's seed is 0.

    Raises:
        RowError: naming the scene and the column that cannot be decoded.
        ValueError: for a row of another schema version.
    """
    key, size = row["scene_id"], (row["height"], row["width"])
    check_version(row["schema_version"], f"scene {key}: column schema_version")
    _check_types(row)
    count = len(row["images"] or ())
    for name in ("images", "names", "radiance", *PICTURE_COLUMNS):
        if count == 0 or (row.get(name) is not None and len(row[name]) != count):
            raise RowError(key, name, f" has {len(row.get(name) or ())} entries for {count} images")
    cameras = _decode_cameras(row, key, count)

    def decoded(name: str, channels: int, decode: Callable[[bytes], Tensor] = pixels.decode_levels) -> Tensor | None:
        return _decode_pictures(row.get(name), key, name, (channels, *size), decode)

    materials = decoded("materials", 3)
    views = Views(
        decoded("images", 3),
        cameras,
        decoded("masks", 1),
        decoded("depths", 1, pixels.decode_depth),
        tuple(row["names"] or ()),
        radiance=decoded("radiance", 3, pixels.decode_radiance),
        normals=decoded("normals", 3, pixels.decode_normals),
        base_colors=decoded("base_colors", 3),
        roughness=None if materials is None else materials[:, 1:2],
        metallic=None if materials is None else materials[:, 2:3],
    )
    light = row.get("environment")
    environment = None
    if light is not None:
        environment = Environment(_decode_one(light, key, "environment", "the picture", pixels.decode_radiance))
    facts = {name: row.get(name) or "" for name in ("licence", "source")}
    scale = row.get("scale") or "relative"
    if scale not in get_args(Scale):
        raise RowError(key, "scale", f" is {scale!r}; accepted are {', '.join(get_args(Scale))}")
    return Sample(key, views, environment=environment, scale=scale, **facts)


def check_version(version: int, place: str) -> None:
    """Raise ValueError if data of a schema version cannot be read; `place` says where it stands."""
    if version not in READABLE_VERSIONS:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        advice = "install a newer anyviews" if newer else "write it again with utils/make_shards.py"
        raise ValueError(
            f"{place} is {version} but this version of anyviews reads {' and '.join(map(str, READABLE_VERSIONS))}; "
            f"{advice}"
        )


def _check_types(row: Row) -> None:
    """Parquet types a column as a whole, but another writer may have chosen other types, or left out values."""
    key = row["scene_id"]
    if not isinstance(key, str) or not key:
        raise RowError(str(key), "scene_id", " is empty; accepted is a name that is unique in the dataset")
    lists = dict.fromkeys((*PICTURE_COLUMNS, "names", "radiance", "intrinsics", "camera_to_world"), list)
    texts = dict.fromkeys(("scale", "licence", "source"), str)
    for name, kind in {**lists, **texts, "environment": bytes}.items():
        value = row.get(name)
        if value is not None and not isinstance(value, kind):
            raise RowError(key, name, f" holds {type(value).__name__}; accepted is {kind.__name__}")
    for name in ("height", "width"):
        if not isinstance(row[name], int) or row[name] < 1:
            raise RowError(key, name, f" is {row[name]}; accepted is a number of pixels")
    if not all(isinstance(name, str) for name in row["names"] or ()):
        raise RowError(key, "names", " holds a null; accepted is a name per image")


def _materials(views: Views) -> Float[Tensor, "views 3 height width"] | None:
    """Roughness in green and metallic in blue, as in glTF."""
    if views.roughness is None or views.metallic is None:
        return None
    return torch.cat([torch.zeros_like(views.roughness), views.roughness, views.metallic], dim=1)


def _pictures(values: Tensor | None, encode: Callable[[Tensor], bytes]) -> list[dict[str, Any]] | None:
    return None if values is None else [{"bytes": encode(one), "path": None} for one in values]


def _decode_pictures(
    pictures: list | None, key: str, column: str, shape: tuple[int, int, int], decode: Callable[[bytes], Tensor]
) -> Float[Tensor, "views channels height width"] | None:
    if pictures is None:
        return None
    for view, picture in enumerate(pictures):
        data = picture["bytes"] if isinstance(picture, dict) else picture
        values = _decode_one(data, key, column, f"view {view}", decode)
        if tuple(values.shape) != shape:
            raise RowError(key, column, f", view {view} has shape {tuple(values.shape)} but the row says {shape}")
        if view == 0:
            # every value is written once: filling fresh memory costs as much as half of decoding a JPEG
            decoded = torch.empty(len(pictures), *shape)
        decoded[view] = values
    return decoded.div_(255) if values.dtype == torch.uint8 else decoded


def _decode_one(data: Any, key: str, column: str, place: str, decode: Callable[[bytes], Tensor]) -> Tensor:
    if not isinstance(data, bytes):
        raise RowError(key, column, f", {place} cannot be decoded: it holds no bytes")
    try:
        return decode(data)
    except MemoryError:
        raise
    # Pillow's decoders raise nearly anything for broken files: OSError, SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        raise RowError(key, column, f", {place} cannot be decoded: {error}") from error


def _decode_cameras(row: Row, key: str, count: int) -> Cameras | None:
    if (row["intrinsics"] is None) != (row["camera_to_world"] is None):
        raise RowError(key, "intrinsics", " or camera_to_world is null; accepted are both, or neither")
    if row["intrinsics"] is None:
        return None
    cameras = Cameras.create(
        _decode_matrices(row["intrinsics"], key, "intrinsics", (count, 3, 3)),
        _decode_matrices(row["camera_to_world"], key, "camera_to_world", (count, 4, 4)),
        row["height"],
        row["width"],
    )
    try:
        return cameras.validate(names=row["names"] or None)
    except ValueError as error:
        raise RowError(key, "intrinsics or camera_to_world", f": {error}") from error


def _decode_matrices(
    values: list, key: str, column: str, shape: tuple[int, int, int]
) -> Float[Tensor, "views rows columns"]:
    try:
        return torch.tensor(values, dtype=torch.float32).reshape(shape)
    # ragged lists, nulls, or another number of values
    except (ValueError, TypeError, RuntimeError) as error:
        raise RowError(key, column, f" does not hold {shape} numbers: {error}") from error
