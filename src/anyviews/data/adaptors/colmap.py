"""Folders of COLMAP reconstructions, such as those of mip-NeRF 360 and Tanks and Temples."""

from functools import partial
from pathlib import Path

from ...formats.colmap import default_images_folder, find_colmap, read_model
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
        model = find_colmap(folder)
        images = folder / self.images if self.images else default_images_folder(folder, model)
        cameras, posed = read_model(model)
        frames = []
        for image in sorted(posed, key=lambda image: image.name):
            camera, mask = cameras[image.camera_id], images.parent / "masks" / f"{image.name}.png"
            photo = Photo(
                images / image.name,
                image.name,
                camera.intrinsics,
                image.camera_to_world,
                (camera.height, camera.width),
                camera.distortion,
                mask=mask if mask.is_file() else None,
            )
            frames.append(Frame(image.name, partial(_load, photo)))
        return frames


def _load(photo: Photo, size: tuple[int, int] | None):
    return load_photos([photo], size)
