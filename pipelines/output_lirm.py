"""What LIRMPipeline returns: an object that can be lit, looked at, kept and refined."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from jaxtyping import Float
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.color import linear_from_srgb, srgb_from_linear
from anyviews.environment import Environment
from anyviews.formats import save_scene
from anyviews.formats.files import new_folder
from anyviews.geometry.paths import orbit
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.mesh import Mesh
from anyviews.models.lirm import LIRMModel, LIRMPlanes, LIRMState
from anyviews.models.lirm.image_processing_lirm import ObjectFrame
from anyviews.models.lirm.rendering_lirm import LIRMRender
from anyviews.scene import Scene
from anyviews.views import Views


RAY_CHUNK = 1 << 14
RECORD_FORMAT = "lirm-asset"
RECORD, STATE, MESH = "asset.json", "state.safetensors", "mesh.glb"


@dataclass(frozen=True)
class PhotoSet:
    """Photos that one update has read; of them only this is kept.

    Args:
        names: labels.
        cameras: in the user's world, in pixels of the photos as given.
    """

    names: tuple[str, ...]
    cameras: Cameras


@dataclass
class LIRMAsset(BaseOutput):
    """An object in the user's world.

    Args:
        state: what the network knows; with `use_photos` this includes the cut-out photos.
        frame: where the object is, and how photos of it are prepared.
        history: the sets of photos, one per update.
        mesh: with textures of base colour, roughness and metallic; None where it was not asked for.
        maps: for output_type "maps", what the network sees in the cameras of the last photos; else None.
        planes: what the state stands for; with `model` it is what `render_views` renders.
        model: the network; None for an asset that was loaded without one.
    """

    state: LIRMState
    frame: ObjectFrame
    history: tuple[PhotoSet, ...]
    mesh: Mesh | None = None
    maps: Views | None = None
    planes: LIRMPlanes | None = field(default=None, repr=False)
    model: LIRMModel | None = field(default=None, repr=False)

    @property
    def cameras(self) -> Cameras:
        """Of all photos that were read; those of several sizes have one size each."""
        return Cameras.cat([photos.cameras for photos in self.history])

    def to_scene(self) -> Scene:
        """The mesh, with the cameras of all photos, as a `Scene` for the exporters.

        Raises:
            ValueError: if there is no mesh.
        """
        names = tuple(name for photos in self.history for name in photos.names)
        return Scene(self.cameras, mesh=self._mesh(), names=names, scale="aligned")

    def relight(self, environment: Environment, cameras: Cameras, **options) -> Views:
        """Images of the mesh under distant light; options are those of `anyviews.rendering.shading.relight`."""
        from anyviews.rendering.shading.relight import relight

        return relight(self._mesh(), environment, cameras, **options)

    def turntable(
        self,
        path: Path | str,
        environment: Environment,
        frames: int = 48,
        fps: float = 24,
        size: int = 256,
        overwrite: bool = False,
        **options,
    ) -> Views:
        """Write a video of the lit mesh, once around, on white; returns its frames.

        Args:
            path: a file name ending in .mp4.
            environment: the light, in the user's world.
            frames, fps: of the video.
            size: of its longer side in pixels.
            overwrite: whether an existing file may be replaced.
            options: of `relight`; by default light is prefiltered, which shows no noise.
        """
        from anyviews.formats.video import write_video

        views = self.relight(environment, self.turntable_cameras(frames, size), **{"method": "prefiltered"} | options)
        # radiance is summed over the covered part of a pixel; white fills the rest
        images = srgb_from_linear(views.radiance + 1 - views.masks)
        write_video(images, path, fps, overwrite)
        return replace(views, images=images)

    def turntable_cameras(self, frames: int = 48, size: int = 256) -> Cameras:
        """Cameras once around the object at the height and distance of the photos'."""
        cameras = orbit(self.cameras, frames, focus=self.frame.center)
        scale = size / max(cameras.height, cameras.width)
        return cameras.resize(max(1, round(cameras.height * scale)), max(1, round(cameras.width * scale)))

    @torch.no_grad()
    def render_views(
        self, cameras: Cameras, samples: int | None = None, sharpness: float | None = None, occupancy: bool = True
    ) -> Views:
        """What the network sees in cameras, by volume rendering: view-dependent radiance, materials, depth.

        Args:
            cameras: [V] of one image size, in the user's world.
            samples, sharpness: of `LIRMModel.render`.
            occupancy: skip what cannot be seen, found first; takes longer for a few small views.

        Returns:
            Views with `images` (radiance on white, as bright as the photos), `masks`, z-depth and normals in the
            user's world, and materials; what the model does not predict is None.

        Raises:
            ValueError: if the asset was loaded without a model.
        """
        if self.model is None or self.planes is None:
            raise ValueError("this asset has no model to render with; load it by pipe.load_asset(folder)")
        pixels = pixel_centers(cameras.height, cameras.width, cameras.device, cameras.dtype).flatten(0, 1)
        seen = self.frame.similarity.apply_cameras(cameras)
        # where the model is: it may have been offloaded since
        device = self.model.device
        planes = self.planes.to(device)
        settings = {"samples": samples, "sharpness": sharpness}
        cells = self.model.find_occupancy(planes, **settings) if occupancy else None
        found = []
        for camera in seen:  # one at a time, to bound the memory
            rays = [part[None].to(device) for part in camera_rays(camera, pixels)]
            found.append(self.model.render(planes, *rays, **settings, chunk=RAY_CHUNK, occupancy=cells).maps())
        joined = {name: torch.cat([maps[name] for maps in found]).to(cameras.device) for name in found[0]}
        return self._views(LIRMRender(**joined), cameras, pixels)

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write the mesh as .glb, .usdz, .obj or .ply, or all of the asset as a folder.

        Args:
            path: a file name, or a folder that `LIRMPipeline.load_asset` reads and whose asset can be updated.
            overwrite: whether an existing file, or folder with content, may be replaced.

        Raises:
            ValueError: if there is no mesh for a file, the ending is unknown, or it exists and may not be replaced.
        """
        path = Path(path)
        if path.suffix.lower() == ".usdz":
            from anyviews.formats.usdz import write_usdz

            write_usdz(self._mesh(), path, overwrite)
        elif path.suffix:
            save_scene(self.to_scene(), path, overwrite=overwrite)
        else:
            self._save_folder(path, overwrite)

    @classmethod
    def load(cls, folder: Path | str) -> "LIRMAsset":
        """Read what `save` wrote into a folder, without the model; see `LIRMPipeline.load_asset`.

        Raises:
            FileNotFoundError: if the folder or a file of it is missing.
            ValueError: if it holds something else.
        """
        folder = Path(folder)
        if not (folder / RECORD).is_file():
            raise FileNotFoundError(f"{folder} holds no {RECORD}; give a folder that LIRMAsset.save wrote")
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if record["format"] != RECORD_FORMAT:
                raise ValueError(f"its format is {record['format']!r}")
            frame = ObjectFrame.from_dict(record["frame"])
            history = tuple(_photo_set(photos) for photos in record["history"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder / RECORD} does not describe an asset of LIRM: {error}") from error
        from anyviews.formats.mesh_files import read_mesh

        mesh = read_mesh(folder / MESH) if record["mesh"] else None
        return cls(LIRMState.load(folder / STATE), frame, history, mesh)

    def _save_folder(self, path: Path, overwrite: bool) -> None:
        record = {
            "format": RECORD_FORMAT,
            "frame": self.frame.to_dict(),
            "history": [
                {
                    "names": photos.names,
                    "intrinsics": photos.cameras.intrinsics.tolist(),
                    "camera_to_world": photos.cameras.camera_to_world.tolist(),
                    "image_sizes": photos.cameras.image_sizes.tolist(),
                }
                for photos in self.history
            ],
            "mesh": self.mesh is not None,
        }
        with new_folder(path, overwrite) as folder:
            (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            self.state.save(folder / STATE)
            if self.mesh is not None:
                save_scene(self.to_scene(), folder / MESH, "glb")

    def _mesh(self) -> Mesh:
        if self.mesh is None:
            raise ValueError('this asset has no mesh; make it with output_type="asset", or by pipe.extract(asset)')
        return self.mesh

    def _views(self, render: LIRMRender, cameras: Cameras, pixels: Float[Tensor, "pixels 2"]) -> Views:
        """Maps [V, H * W, C] on white and in the object frame as maps of the user's world."""
        height, width = cameras.height, cameras.width
        similarity = self.frame.similarity
        maps = {name: value.mT.unflatten(-1, (height, width)) for name, value in render.maps().items()}
        masks = maps["opacity"].clamp(0, 1)
        covered = {
            name: (maps[name] - (1 - masks)) / masks.clamp(min=1e-4)
            for name in ("radiance", "base_colors", "roughness", "metallic", "normals")
            if name in maps
        }
        covered = {name: torch.where(masks > 1e-3, values, 0.0) for name, values in covered.items()}
        normals = torch.einsum("ji,vjhw->vihw", similarity.rotation, F.normalize(covered.pop("normals"), dim=1))
        covered = {name: values.clamp(0, 1) for name, values in covered.items()}
        colors = covered.pop("radiance", covered.get("base_colors"))
        if self.frame.gain != 1:
            colors = srgb_from_linear(linear_from_srgb(colors) / self.frame.gain)
        along = camera_rays(cameras, pixels.expand(len(cameras), -1, 2))[1]
        cosine = (along * cameras.rotation[:, None, :, 2]).sum(-1).unflatten(-1, (height, width))[:, None]
        return Views(
            colors * masks + 1 - masks,
            cameras,
            masks,
            maps["depth"] * cosine / similarity.scale,
            normals=normals,
            **covered,
        )


def _photo_set(record: dict) -> PhotoSet:
    fields = ("intrinsics", "camera_to_world", "image_sizes")
    return PhotoSet(tuple(record["names"]), Cameras(*(torch.tensor(record[name]) for name in fields)))
