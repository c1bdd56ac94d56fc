"""LIRMPipeline: posed, masked photos of an object to a relightable asset, refined as more photos come."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.foreground import BackgroundRemover
from anyviews.models.lirm import LIRMModel
from anyviews.models.lirm.image_processing_lirm import LIRMImageProcessor, ObjectFrame
from anyviews.models.lirm.processing_lirm import LIRMInputs
from anyviews.rendering.shading.materials import SurfaceMaterials
from anyviews.rendering.surfaces.assets import extract_surface
from anyviews.rendering.surfaces.texturing import texture_mesh
from anyviews.views import Views

from .inputs_lirm import Masks, ObjectPhotos, read_object_photos
from .model_only import ModelOnlyLoadingMixin
from .output_lirm import LIRMAsset, PhotoSet


ORDERS = ("spread", "capture")
OUTPUT_TYPES = ("asset", "maps", "planes")


class LIRMPipeline(ModelOnlyLoadingMixin):
    """Reconstructs one object with its materials from photos whose cameras and masks are known.

    Args:
        model: LIRM.
        image_processor: prepares photos for it.
    """

    model_cpu_offload_seq = "model"
    model_class = LIRMModel
    image_processor_class = LIRMImageProcessor

    def __init__(self, model: LIRMModel, image_processor: LIRMImageProcessor):
        super().__init__()
        self.register_modules(model=model, image_processor=image_processor)
        if image_processor.size % model.config.patch_size:
            raise ValueError(
                f"image_processor makes images of {image_processor.size} pixels, but the model's patches have "
                f"{model.config.patch_size}; the size must be a multiple of it, as in one checkpoint"
            )

    @torch.no_grad()
    def __call__(
        self,
        images: ObjectPhotos,
        cameras: Cameras | None = None,
        masks: Masks | None = None,
        center: Float[Tensor, "3"] | None = None,
        radius: float | None = None,
        exposures: Float[Tensor, "views"] | None = None,
        background_remover: BackgroundRemover | str | None = None,
        views_per_step: int | None = None,
        order: str = "spread",
        resolution: int = 256,
        texture_size: int = 1024,
        max_faces: int = 20_000,
        output_type: str = "asset",
    ) -> LIRMAsset:
        """Reconstruct an object from its first photos.

        Args:
            images: two or more photos, see `read_object_photos`; one is enough with center and radius.
            cameras: of the photos, unless they come with them; the asset is in their world.
            masks: 1 on the object, unless they come with the photos.
            center, radius: of a sphere that holds the object, in world units; by default found from the masks.
            exposures: [V], linear brightness of each photo up to one factor, where photos differ in it.
            background_remover: "rembg" or a function, for photos without masks.
            views_per_step: photos of one update; by default what the checkpoint was trained for.
            order: "spread" (photos of a set far from each other) or "capture" (as given).
            resolution: cells along a side of the grid that the surface is taken from.
            texture_size: texels along a side of the textures.
            max_faces: of the mesh.
            output_type: "asset" (with the mesh), "maps" (rendered in the last photos' cameras) or "planes" (neither).

        Raises:
            ValueError, FileNotFoundError: naming the argument or photo, what was found and what is accepted.
        """
        self.check_inputs(views_per_step, order, resolution, output_type)
        views = read_object_photos(images, cameras, masks, background_remover)
        frame = self.image_processor.find_frame(views, center, radius, exposures)
        asset = self.read(None, frame, views, exposures, views_per_step, order)
        return self._finish(asset, output_type, resolution, texture_size, max_faces)

    @torch.no_grad()
    def update(
        self,
        asset: LIRMAsset,
        images: ObjectPhotos,
        cameras: Cameras | None = None,
        masks: Masks | None = None,
        exposures: Float[Tensor, "views"] | None = None,
        background_remover: BackgroundRemover | str | None = None,
        views_per_step: int | None = None,
        order: str = "spread",
        resolution: int = 256,
        texture_size: int = 1024,
        max_faces: int = 20_000,
        output_type: str = "asset",
    ) -> LIRMAsset:
        """The same object after further photos, in the memory of one set of them.

        Args:
            asset: of this pipeline, or loaded from its folder; it is not changed.
            images: one photo or more, in the same world as the first ones; all other arguments are as in the call.

        Raises:
            ValueError: as in the call, or if the cameras are in another world, or the asset is of another model.
        """
        self.check_inputs(views_per_step, order, resolution, output_type)
        views = read_object_photos(images, cameras, masks, background_remover)
        updated = self.read(asset, asset.frame, views, exposures, views_per_step, order)
        return self._finish(updated, output_type, resolution, texture_size, max_faces)

    def check_inputs(self, views_per_step: int | None, order: str, resolution: int, output_type: str) -> None:
        """Raise ValueError for arguments that cannot be used with any photos."""
        if views_per_step is not None and views_per_step < 1:
            raise ValueError(f"views_per_step={views_per_step}; accepted are 1 and more")
        if order not in ORDERS:
            raise ValueError(f"order={order!r}; accepted are {', '.join(ORDERS)}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r}; accepted are {', '.join(OUTPUT_TYPES)}")
        if resolution < 8:
            raise ValueError(f"resolution={resolution}; accepted are 8 cells and more, 256 is usual")

    @torch.no_grad()
    def read(
        self,
        asset: LIRMAsset | None,
        frame: ObjectFrame,
        views: Views,
        exposures: Float[Tensor, "views"] | None = None,
        views_per_step: int | None = None,
        order: str = "spread",
    ) -> LIRMAsset:
        """Read all photos, set by set; the asset has no mesh yet.

        Args:
            asset: what is known; None for nothing.
            frame: of the object.
            views: photos with cameras and masks.
            exposures, views_per_step, order: as in the call.
        """
        inputs = self.image_processor.prepare(views, frame, exposures)
        state = None if asset is None else asset.state.to(self._execution_device)
        planes = None
        history = () if asset is None else asset.history
        sets = photo_sets(views.cameras, frame, views_per_step or self.image_processor.views_per_step, order)
        with self.progress_bar(total=len(sets)) as progress:
            for photos in sets:
                # called as a module, so that offloading brings it to its device
                output = self.model(**self.encode(inputs, photos), state=state)
                state, planes = output.state, output.planes
                names = tuple(views.names[i] for i in photos)
                history = (*history, PhotoSet(names, views.cameras[photos].to("cpu")))
                progress.update()
        return LIRMAsset(state, frame, history, planes=planes, model=self.model)

    def encode(self, inputs: LIRMInputs, photos: list[int]) -> dict[str, Tensor]:
        """Some of the photos as arguments of the model, [1, V, 3, S, S] each, in float32."""
        parts = {name: value[photos][None].to(self._execution_device) for name, value in vars(inputs).items()}
        if not self.model.config.use_background:
            parts.pop("backgrounds")
        return parts

    @torch.no_grad()
    def extract(
        self, asset: LIRMAsset, resolution: int = 256, texture_size: int = 1024, max_faces: int = 20_000
    ) -> LIRMAsset:
        """The asset with its mesh, in the user's world.

        Where a model predicts no materials, the radiance along the normal is the base colour of a rough surface.

        Raises:
            ValueError: if the distances have no surface.
        """
        device, radius = self.model.device, self.model.config.box_radius
        planes = asset.planes.to(device)
        cell = 2 * radius / resolution
        coordinates = torch.linspace(-radius, radius, resolution + 1, device=device)
        distances = self.model.signed_distances_on_grid(planes, coordinates)[0]
        # a surface that leaves the box is closed at its side
        distances = F.pad(distances, (1, 1, 1, 1, 1, 1), value=cell).cpu()
        try:
            surface = extract_surface(distances, torch.full((3,), -radius - cell), cell, max_faces)
        except ValueError as error:
            raise ValueError(
                f"the network found no surface in the object's box ({error}). Check the masks, give photos from more "
                "sides or center and radius of the object, raise the resolution if it is thin, or use "
                'output_type="planes" and asset.render_views to look at what there is'
            ) from error

        def materials(points: Float[Tensor, "points 3"]) -> SurfaceMaterials:
            fields = self.model.query(planes, points[None].to(device))
            if fields.base_colors is None:
                rough = torch.ones_like(points[:, :1])
                found = (fields.radiance[0].to(points), rough, torch.zeros_like(rough))
            else:
                predicted = (fields.base_colors, fields.roughness, fields.metallic)
                found = (values[0].to(points).clamp(0, 1) for values in predicted)
            return SurfaceMaterials(*found, fields.normals[0].to(points))

        mesh = texture_mesh(surface, materials, texture_size)
        return replace(asset, mesh=mesh.transform(asset.frame.similarity.inverse()))

    @torch.no_grad()
    def load_asset(self, folder: Path | str) -> LIRMAsset:
        """An asset from the folder that `LIRMAsset.save` wrote, to render and to update with this pipeline's model.

        Raises:
            FileNotFoundError, ValueError: if the folder holds none, or one of another model.
        """
        asset = LIRMAsset.load(folder)
        state = asset.state.to(self.model.device)
        self.model._check_state(state, 1)
        return replace(asset, state=state, planes=self.model.decode_planes(state), model=self.model)

    def _finish(
        self, asset: LIRMAsset, output_type: str, resolution: int, texture_size: int, max_faces: int
    ) -> LIRMAsset:
        if output_type == "asset":
            asset = self.extract(asset, resolution, texture_size, max_faces)
        elif output_type == "maps":
            asset = replace(asset, maps=asset.render_views(asset.history[-1].cameras))
        self.maybe_free_model_hooks()
        return asset


def photo_sets(cameras: Cameras, frame: ObjectFrame, views_per_step: int, order: str) -> list[list[int]]:
    """Photos to sets of nearly equal size, none larger than `views_per_step`.

    Args:
        cameras: of the photos, in the user's world.
        frame: of the object.
        views_per_step: most photos of a set.
        order: "capture" (as given) or "spread" (farthest-point order of the directions that the object is seen from).
    """
    indices = list(range(len(cameras)))
    if order == "spread" and len(cameras) > views_per_step:
        indices = farthest_order(F.normalize(cameras.centers - frame.center, dim=-1))
    count = -(-len(indices) // views_per_step)
    return [part.tolist() for part in torch.tensor(indices).tensor_split(count)]


def farthest_order(points: Float[Tensor, "points 3"]) -> list[int]:
    """Indices such that each point is the one farthest from all before it; the first stays first."""
    chosen, distances = [0], (points - points[0]).norm(dim=-1)
    while len(chosen) < len(points):
        distances[chosen[-1]] = -1.0
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (points - points[chosen[-1]]).norm(dim=-1))
    return chosen
