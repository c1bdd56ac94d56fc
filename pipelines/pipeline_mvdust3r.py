"""MVDust3rPlusPipeline: unposed photos of a scene to points, cameras, depth and Gaussians."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.geometry.pose_recovery import (
    RecoveredPoses,
    centered_intrinsics,
    recover_focals,
    recover_poses,
    search_focals,
)
from anyviews.geometry.robust_alignment import align_points_to_cameras
from anyviews.geometry.similarity import Similarity
from anyviews.geometry.view_similarity import view_similarity
from anyviews.models.memory import parse_memory
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.scene import Scale
from anyviews.views import Views

from .inputs_mvdust3r import Photos, cameras_of_intrinsics, cameras_of_network, read_photos, warn_about_copies
from .model_only import ModelOnlyLoadingMixin
from .output_mvdust3r import MVDust3rPlusPipelineOutput
from .planning_mvdust3r import MOST_VIEWS, ReconstructionPlan, measured_speed, plan_reconstruction
from .pointmaps_mvdust3r import Pointmaps, join_groups


OUTPUT_TYPES = ("pt", "np")
# A photo whose median confidence is not above the least possible one by this much says that nothing fits together.
SURE = 0.5
logger = logging.getLogger(__name__)


class MVDust3rPlusPipeline(ModelOnlyLoadingMixin):
    """Reconstructs a scene from two or more photos of which nothing is known.

    Args:
        model: MV-DUSt3R+ or MV-DUSt3R.
        image_processor: prepares photos for it.
    """

    model_cpu_offload_seq = "model"
    model_class = MVDust3rPlusModel
    image_processor_class = MVDust3rPlusImageProcessor

    def __init__(self, model: MVDust3rPlusModel, image_processor: MVDust3rPlusImageProcessor):
        super().__init__()
        self.register_modules(model=model, image_processor=image_processor)
        patch, size = model.config.patch_size, image_processor.size
        if size["height"] % patch or size["width"] % patch:
            raise ValueError(
                f"image_processor makes images of {size['height']}x{size['width']} pixels, but the model's patches "
                f"have {patch}; both sides must be multiples of {patch}, as in one checkpoint"
            )
        self.last_plan: ReconstructionPlan | None = None

    @torch.no_grad()
    def __call__(
        self,
        images: Photos,
        cameras: Cameras | None = None,
        intrinsics: Float[Tensor, "*views 3 3"] | None = None,
        references: str | Sequence[int] = "auto",
        shared_focal: bool | None = None,
        confidence_percentile: float = 3.0,
        max_views: int = MOST_VIEWS,
        max_memory: int | str | None = None,
        skip_unreadable: bool = False,
        seed: int = 0,
        output_type: str = "pt",
        return_dict: bool = True,
    ) -> MVDust3rPlusPipelineOutput | tuple:
        """Reconstruct the scene.

        Args:
            images: two or more photos of one scene, see `read_photos`.
            cameras: the photos' cameras where they are known, in pixels of the original photos; the result is in their
                world. `images` may be Views that have them.
            intrinsics: [3, 3] or [V, 3, 3], where they alone are known, in pixels of the original photos.
            references: "auto", or the photos that serve as references.
            shared_focal: whether all photos have one focal length; None where they have one size, upright or turned.
            confidence_percentile: so many percent of all pixels, the least sure, are left out of the scene.
            max_views: photos that the network sees at once; more are reconstructed in groups that overlap.
            max_memory: bytes, or a text such as "2GB", that may be taken beside the weights.
            skip_unreadable: leave out photos that cannot be read, with a warning.
            seed: of the points that decide the poses.
            output_type: "pt" or "np".
            return_dict: return an `MVDust3rPlusPipelineOutput` instead of a tuple (points, confidence, cameras).

        Raises:
            ValueError, FileNotFoundError: naming the argument or photo, what was found and what is accepted.
        """
        self.check_inputs(cameras, intrinsics, references, confidence_percentile, max_views, output_type)
        views = self.prepare(images, skip_unreadable)
        given = self.given_cameras(views, cameras, intrinsics)
        plan = self.plan(views, references, max_views, max_memory)
        maps = self.predict(views, plan)
        self.warn_about_confidence(views, maps)
        if given is None:
            maps, poses = self.recover_cameras(views, maps, shared_focal, seed)
        else:
            posed = intrinsics is None
            maps, poses = self.use_cameras(views, maps, given, posed, seed)
        scale = "aligned" if given is not None and intrinsics is None else "relative"
        output = self.assemble(views, maps, poses, plan, scale, confidence_percentile, output_type)
        self.maybe_free_model_hooks()
        return output if return_dict else (output.points, output.confidence, output.cameras)

    def check_inputs(
        self,
        cameras: Cameras | None,
        intrinsics: Tensor | None,
        references: str | Sequence[int],
        confidence_percentile: float,
        max_views: int,
        output_type: str,
    ) -> None:
        """Raise ValueError for arguments that cannot be used with any photos."""
        if cameras is not None and intrinsics is not None:
            raise ValueError("cameras and intrinsics were both given; cameras have intrinsics, give one of the two")
        if isinstance(references, str) and references != "auto":
            raise ValueError(f"references={references!r}; accepted are 'auto' and a list of photo indices")
        if not 0 <= confidence_percentile < 100:
            raise ValueError(
                f"confidence_percentile={confidence_percentile}; accepted are 0 (all pixels) up to, not including, 100"
            )
        if max_views < 2:
            raise ValueError(f"max_views={max_views}; accepted are 2 and more")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r}; accepted are {', '.join(OUTPUT_TYPES)}")

    def prepare(self, images: Photos, skip_unreadable: bool = False) -> Views:
        """The network's images of the photos, with the record of how they came about; warns of copies."""
        views = read_photos(images, self.image_processor, skip_unreadable)
        warn_about_copies(views)
        return views

    def given_cameras(
        self, views: Views, cameras: Cameras | None = None, intrinsics: Tensor | None = None
    ) -> Cameras | None:
        """The known cameras in pixels of the network's images, at the origin where only intrinsics are known."""
        if intrinsics is not None:
            cameras = cameras_of_intrinsics(intrinsics, views)
        return views.cameras if cameras is None else cameras_of_network(cameras, views)

    def plan(
        self,
        views: Views,
        references: str | Sequence[int] = "auto",
        max_views: int = MOST_VIEWS,
        max_memory: int | str | None = None,
    ) -> ReconstructionPlan:
        """What will be done, kept in last_plan; also logged, which `logging.basicConfig(level="INFO")` shows."""
        if references != "auto":
            outside = [i for i in references if not 0 <= i < len(views)]
            if outside or len(set(references)) != len(references) or not references:
                raise ValueError(
                    f"references={list(references)}; accepted are different indices from 0 to {len(views) - 1}"
                )
        plan = plan_reconstruction(
            self.model.config,
            view_similarity(views.images),
            (views.height, views.width),
            None if references == "auto" else references,
            max_views,
            None if max_memory is None else parse_memory(max_memory),
            self.model.dtype.itemsize,
        )
        speed = measured_speed(self._execution_device, self.model.dtype)
        self.last_plan = replace(plan, seconds=plan.operations / speed)
        logger.info(self.last_plan.describe())
        return self.last_plan

    def predict(self, views: Views, plan: ReconstructionPlan) -> Pointmaps:
        """Points, confidence and Gaussians of all photos in the frame of the first group's first reference."""
        parts = []
        with self.progress_bar(total=len(plan.groups)) as progress:
            for group, references in zip(plan.groups, plan.references, strict=True):
                pixel_values = self.image_processor.pixel_values(views[list(group)]).to(self._execution_device)
                output = self.model(
                    pixel_values,
                    references=[group.index(photo) for photo in references],
                    all_paths=False,
                    head_views=plan.head_views,
                )
                parts.append(Pointmaps.from_output(output, pixel_values))
                progress.update()
        return join_groups(plan.groups, parts)

    def warn_about_confidence(self, views: Views, maps: Pointmaps) -> None:
        """Warn of photos of which the network is nowhere sure, as of those that overlap with no other."""
        unsure = maps.confidence.flatten(1).median(1).values - self.model.config.confidence_min < SURE
        if unsure.any():
            names = [views.names[i] for i in unsure.nonzero().flatten()]
            warnings.warn(
                f"the confidence of {len(names)} of {len(views)} photos is low: {', '.join(names[:8])}; they may "
                "overlap with no other photo, or be unlike what the checkpoint was trained on",
                stacklevel=3,
            )

    def recover_cameras(
        self, views: Views, maps: Pointmaps, shared_focal: bool | None = None, seed: int = 0
    ) -> tuple[Pointmaps, RecoveredPoses]:
        """Cameras of photos of which nothing is known; the world becomes the camera frame of the first photo.

        Args:
            views: the network's images.
            maps: in the camera frame of photo `maps.first`.
            shared_focal: as in the call.
            seed: as in the call.
        """
        if shared_focal is None:
            shared_focal = len(views.record.original_sizes.sort(dim=1).values.unique(dim=0)) == 1
        window = slice(maps.first, maps.first + 1)
        focal = recover_focals(maps.points[window], maps.confidence[window])
        intrinsics = centered_intrinsics(focal.expand(len(views)), views.height, views.width)
        # pixels of the photo are square; whole numbers of the network's pixels may have stretched them a little
        intrinsics[:, [0, 1], [0, 1]] *= views.record.scale / views.record.scale.mean(1, keepdim=True)
        # the centre of the photo, which whole pixels may have moved from that of the crop
        centers = views.record.original_sizes.flip(-1)[:, None] / 2
        intrinsics[:, :2, 2] = views.record.to_current(centers)[:, 0]
        if not shared_focal:
            intrinsics = search_focals(maps.points, maps.confidence, intrinsics, seed)
        poses = recover_poses(maps.points, maps.confidence, intrinsics, seed)
        self._warn_about_poses(views, poses)
        return _in_frame_of_first(maps, poses)

    def use_cameras(
        self, views: Views, maps: Pointmaps, cameras: Cameras, posed: bool, seed: int = 0
    ) -> tuple[Pointmaps, RecoveredPoses]:
        """Known cameras: the points go to their world; where only intrinsics are known, poses are recovered with them.

        Args:
            views: the network's images.
            maps: in any frame.
            cameras: in pixels of the network's images.
            posed: whether their poses are known.
            seed: as in the call.
        """
        poses = recover_poses(maps.points, maps.confidence, cameras.intrinsics, seed)
        self._warn_about_poses(views, poses)
        if not posed:
            return _in_frame_of_first(maps, poses)
        similarity = align_points_to_cameras(maps.points, maps.confidence, poses, cameras)
        return maps.transform(similarity), replace(poses, cameras=cameras)

    def assemble(
        self,
        views: Views,
        maps: Pointmaps,
        poses: RecoveredPoses,
        plan: ReconstructionPlan,
        scale: Scale = "relative",
        confidence_percentile: float = 3.0,
        output_type: str = "pt",
    ) -> MVDust3rPlusPipelineOutput:
        """The result: depth, which pixels are kept, cameras in pixels of the original photos.

        Raises:
            ValueError: if no point is finite.
        """
        usable = maps.points.isfinite().all(-1) & maps.confidence.isfinite()
        if poses.found.any():
            usable &= poses.found[:, None, None]
        if not usable.any():
            raise ValueError("the network gave no finite point; are the weights of this checkpoint damaged?")
        sure = maps.confidence[usable].sort().values
        kept = usable & (maps.confidence >= sure[int(confidence_percentile / 100 * len(sure))])
        cameras = poses.cameras
        depths = cameras.project(maps.points.flatten(1, 2))[1].unflatten(1, maps.confidence.shape[1:])
        depths = depths.where(kept & (depths > 0) & poses.found[:, None, None], 0.0)[:, None]
        views = replace(views, cameras=cameras)
        numpy = output_type == "np"
        return MVDust3rPlusPipelineOutput(
            points=maps.points.numpy() if numpy else maps.points,
            confidence=maps.confidence.numpy() if numpy else maps.confidence,
            depths=depths[:, 0].numpy() if numpy else depths,
            kept=kept,
            cameras=views.original_cameras(),
            gaussians=None if maps.gaussians is None else maps.gaussians.select(kept.flatten()),
            views=views,
            references=plan.references,
            found=poses.found,
            pose_errors=poses.errors,
            scale=scale,
        )

    def _warn_about_poses(self, views: Views, poses: RecoveredPoses) -> None:
        lost = [views.names[i] for i in (~poses.found).nonzero().flatten()]
        if lost:
            warnings.warn(
                f"no pose was found for {len(lost)} of {len(views)} photos: {', '.join(lost[:8])}; they may overlap "
                "with no other photo, or be unlike what the checkpoint was trained on",
                stacklevel=4,
            )


def _in_frame_of_first(maps: Pointmaps, poses: RecoveredPoses) -> tuple[Pointmaps, RecoveredPoses]:
    """In the camera frame of the first photo that has a pose."""
    camera = poses.cameras[int(poses.found.int().argmax())]
    to_camera = camera.world_to_camera
    one = torch.ones((), dtype=to_camera.dtype)
    similarity = Similarity(one, to_camera[:3, :3], to_camera[:3, 3])
    cameras = poses.cameras.relative_to(camera)
    at_origin = torch.eye(4).expand(len(cameras), 4, 4)
    pose = cameras.camera_to_world.where(poses.found[:, None, None], at_origin)
    return maps.transform(similarity), replace(poses, cameras=replace(cameras, camera_to_world=pose))
