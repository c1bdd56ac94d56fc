"""Folders of COLMAP reconstructions, such as those of mip-NeRF 360 and Tanks and Temples."""

from functools import partial
from pathlib import Path

from ...formats.colmap import colmap_photos, find_colmap
from ...formats.photos import Photo, load_photos
from .adaptor import Adaptor, Frame, Reading
from .files import subfolders


class ColmapAdaptor(Adaptor):
    """A reconstruction, or a folder of them; photos that are not there are left out.

    Args:
        folder: of one scene, or of scenes.
        reading: what to take of it.
        images: name of the folder of the photos in a scene, such as "images_4" for smaller ones of the same names;
            default "images".
    """

    name = "colmap"
    layout = "cameras and images (.bin or .txt) in it, in sparse or in sparse/0, or folders with them"

    def __init__(self, folder: Path | str, reading: Reading | None = None, images: str | None = None):
        super().__init__(folder, reading)
        self.images = images

    def scenes(self) -> list[str]:
        if self.reading.split != "train":
            return []
        if find_colmap(self.folder) is not None:
            return [self.folder.resolve().name]
        return [name for name in subfolders(self.folder) if find_colmap(self.folder / name) is not None]

    def frames(self, scene: str) -> list[Frame]:
        folder = self.folder if find_colmap(self.folder) is not None else self.folder / scene
        photos = colmap_photos(folder, folder / self.images if self.images else None)
        return [Frame(photo.name, partial(_load, photo)) for photo in photos]


def _load(photo: Photo, size: tuple[int, int] | None):
    return load_photos([photo], size)
