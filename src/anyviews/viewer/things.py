"""load_things: whatever a file or folder holds, as the steps of one scene."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..formats import cameras_json, load_scene, load_views, transforms_json
from ..formats.colmap import find_colmap
from ..formats.scene_files import SCENE_SUFFIXES
from ..scene import Scene


# Files of a run's output folder that hold the parts of one scene, by the part.
PARTS = {
    "gaussians": ("gaussians.ply", "gaussians.compressed.ply", "gaussians.spz", "gaussians.splat"),
    "mesh": ("mesh.glb", "mesh.usdz", "mesh.ply", "mesh.obj"),
    "points": ("points.ply",),
}
WHOLE = "scene.npz"
CAMERAS = ("cameras", "cameras-json", "colmap", "transforms")
STEP = re.compile(r"step[_-]?(\d+)$")
# Larger photos are shrunk to this longer side: they are shown small.
LONGEST_SIDE = 384
EXTENSIONS = (*SCENE_SUFFIXES, ".parquet")


@dataclass(frozen=True)
class Steps:
    """One scene, or the steps of one.

    Args:
        scenes: one or more.
        names: of the steps.
    """

    scenes: tuple[Scene, ...]
    names: tuple[str, ...]


def load_things(path: Path | str, row: int = 0) -> Steps:
    """Load whatever a file or folder holds.

    A file is a scene (.npz), points, Gaussians or a mesh, or a shard of samples (.parquet). A folder is read by the
    first of these that it has: files `step_<number>` of one kind, which become the steps of one scene; shards of
    samples (in it or in `data`); the output of a run; such outputs in its folders, which become steps; photos with
    cameras.

    Args:
        path: the file or folder.
        row: of a dataset's samples, counted over the shards of a folder.

    Raises:
        FileNotFoundError: if nothing of this kind is there.
        ValueError: if something is there and cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder, or a file ({', '.join(EXTENSIONS)})")
    if path.is_file():
        return _file(path, row)
    if steps := _numbered(path):
        return _with_cameras(path, steps)
    if shards := sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet")):
        return _sample(shards, row)
    if (scene := _output(path)) is not None:
        return Steps((scene,), ("",))
    inner = {folder.name: _output(folder) for folder in sorted(path.iterdir()) if folder.is_dir()}
    if any(scene is not None for scene in inner.values()):
        found = {name: scene for name, scene in inner.items() if scene is not None}
        return Steps(tuple(found.values()), tuple(found))
    return Steps((_photos(path),), ("",))


def _file(path: Path, row: int) -> Steps:
    if path.suffix.lower() == ".parquet":
        return _sample([path], row)
    if path.suffix.lower() not in SCENE_SUFFIXES and path.suffix.lower() != ".json":
        raise ValueError(
            f"{path} is of no kind that can be shown; accepted are {', '.join(EXTENSIONS)}, and folders of photos "
            "with cameras, of shards, of numbered steps or that a run wrote"
        )
    scene = _photos(path) if path.suffix.lower() == ".json" else load_scene(path)
    return Steps((scene,), ("",))


def _sample(shards: list[Path], row: int) -> Steps:
    """One of the samples of some shards."""
    # brings datasets, which takes a second to load
    from ..data.rows import Piece, count_rows, read_rows
    from ..data.schema import decode_row

    places = [(str(file), number) for file in shards for number in range(count_rows(str(file)))]
    if not 0 <= row < len(places):
        raise ValueError(f"--row {row}; accepted are 0 to {len(places) - 1}, the samples in {shards[0].parent}")
    file, number = places[row]
    ((_, content),) = read_rows(Piece(file, number, number + 1), _columns(file))
    sample = decode_row(content)
    views = sample.views
    if views.cameras is None:
        raise ValueError(f"sample {row} ({sample.key}) of {shards[0].parent} has no cameras, and thus nothing in 3D")
    scene = Scene(views.cameras, views.images, views.depths, names=views.names, scale=sample.scale)
    return Steps((scene,), (sample.key,))


def _columns(file: str) -> list[str]:
    """The columns of the sample schema that a shard has."""
    import pyarrow.parquet as pq

    from ..data.schema import ADDED_COLUMNS, features

    stored = pq.read_schema(file).names
    known = features(decode=False)
    if missing := sorted(set(known) - set(stored) - set(ADDED_COLUMNS)):
        raise ValueError(f"{file} is no shard of samples: it lacks {', '.join(missing)}; see utils/make_shards.py")
    return [column for column in known if column in stored]


def _numbered(folder: Path) -> list[Path]:
    """Files such as step_03.glb, in the order of their numbers."""
    found = [
        (int(match[1]), file)
        for file in folder.iterdir()
        if file.suffix.lower() in SCENE_SUFFIXES and (match := STEP.search(file.stem))
    ]
    return [file for _, file in sorted(found)]


def _with_cameras(folder: Path, steps: list[Path]) -> Steps:
    """The steps, with the cameras and photos that lie beside them where they have none."""
    scenes = [load_scene(file) for file in steps]
    views = _views(folder)
    if views is not None:
        photos = replace(views, depths=None, points=None)
        scenes = [
            scene if len(scene) else replace(photos, points=scene.points, gaussians=scene.gaussians, mesh=scene.mesh)
            for scene in scenes
        ]
    return Steps(tuple(scenes), tuple(file.stem for file in steps))


def _output(folder: Path) -> Scene | None:
    """What a run wrote into a folder, or None."""
    parts = {
        part: next((folder / name for name in names if (folder / name).is_file()), None)
        for part, names in PARTS.items()
    }
    whole = (folder / WHOLE).is_file()
    if not whole and not any(parts.values()):
        return None
    scene = load_scene(folder / WHOLE) if whole else _views(folder)
    for part, file in parts.items():
        if file is not None and (scene is None or getattr(scene, part) is None):
            # depth in the scene says more than the points that were made of it
            if part == "points" and scene is not None and scene.depths is not None:
                continue
            found = load_scene(file)
            scene = found if scene is None else replace(scene, **{part: getattr(found, part)})
    return scene


def _views(folder: Path) -> Scene | None:
    """Photos with cameras in a folder, or in those of its folders that runs write, or None."""
    for place in (folder, *(folder / name for name in CAMERAS)):
        files = (place / cameras_json.FILE_NAME, place / transforms_json.FILE_NAME)
        if any(file.is_file() for file in files) or find_colmap(place) is not None:
            return _photos(place)
    return None


def _photos(path: Path) -> Scene:
    """Photos with cameras, shrunk where they are large."""
    first = load_views(path, select=[0])
    shrink = LONGEST_SIDE / max(first.height, first.width)
    if shrink >= 1:
        return load_scene(path)
    return load_scene(path, (max(1, round(first.height * shrink)), max(1, round(first.width * shrink))))
