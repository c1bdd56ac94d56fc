"""MVBoostPipeline: one image of an object to 3D Gaussians, by way of six generated views (arXiv 2411.17772).

Deviations and open choices are listed in docs/methods/mvboost.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.foreground import BackgroundRemover, PhotoInput, find_foreground
from anyviews.gaussians import Gaussians
from anyviews.models.era3d import VIEW_AZIMUTHS
from anyviews.models.lgm import INPUT_AZIMUTHS, LGMModel, lgm_cameras, prepare_images
from anyviews.rendering.gaussians import render_on_white
from anyviews.rendering.input_pose import PoseSearch
from anyviews.rendering.input_view import InputView, InputViewFit, optimize_input_view
from anyviews.rendering.lpips import LPIPS

from .output_era3d import Era3DPipelineOutput
from .output_mvboost import MVBoostPipelineOutput
from .output_mvgd import as_output
from .pipeline_era3d import FIRST_PASS, NOISE, ZEROS, Generators
from .published_index import PublishedIndexMixin


OUTPUT_TYPES = ("pil", "np", "pt")
# Of the paper's ablation over {0.5, 0.9, 0.95, 1} the best.
STRENGTH = 0.95
# Of the picture's side that objects take in LGM's images.
FOREGROUND_SHARE = 0.8
AZIMUTHS = tuple(VIEW_AZIMUTHS.values())


class MVBoostPipeline(PublishedIndexMixin):
    """Makes Gaussians of an object from one image of it.

    Args:
        multiview: generates views and refines them: `Era3DPipeline`, or another with its arguments, output and
            `image_size`.
        reconstructor: LGM of four views, with or without a boosting adapter (`load_lora_weights`).
        view_azimuths: degrees of the views that `multiview` generates, in its order; 90 is the viewer's right.
    """

    model_cpu_offload_seq = "reconstructor"

    def __init__(
        self,
        multiview: DiffusionPipeline,
        reconstructor: LGMModel,
        view_azimuths: list[float] | tuple[float, ...] = AZIMUTHS,
    ):
        super().__init__()
        self.register_modules(multiview=multiview, reconstructor=reconstructor)
        # a list, as JSON gives it back
        self.register_to_config(view_azimuths=[float(azimuth) for azimuth in view_azimuths])
        missing = [azimuth for azimuth in INPUT_AZIMUTHS if azimuth not in self.config.view_azimuths]
        if missing or reconstructor.config.num_views != len(INPUT_AZIMUTHS):
            raise ValueError(
                f"multiview generates views at azimuths {self.config.view_azimuths} and reconstructor takes "
                f"{reconstructor.config.num_views} views; needed are those at {list(INPUT_AZIMUTHS)} degrees, and an "
                f"LGM of {len(INPUT_AZIMUTHS)} views"
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> "MVBoostPipeline":
        """Load a pipeline; arguments as in diffusers, which gives the dtype to models but not to pipelines within."""
        pipe = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        dtype = kwargs.get("dtype", kwargs.get("torch_dtype"))
        if isinstance(dtype, torch.dtype):
            pipe.multiview.to(dtype)
        return pipe

    @torch.no_grad()
    def __call__(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        mask: PhotoInput | Sequence[PhotoInput] | None = None,
        refine: bool = False,
        strength: float = STRENGTH,
        init_normals: str = FIRST_PASS,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        background_remover: BackgroundRemover | str | None = None,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> MVBoostPipelineOutput | tuple:
        """Generate views of one object or several, and reconstruct each.

        Args:
            image: with transparency, or with `mask` or `background_remover`; a list for several objects.
            mask: white on the object, one per image.
            refine: render the Gaussians, refine the renders, and reconstruct once more from these.
            strength: of the refinement, in (0, 1]: how much of it starts from noise.
            init_normals: what the refinement's normal maps start from: "first_pass", "noise" or "zeros".
            num_inference_steps: denoising steps; by default the checkpoint's.
            guidance_scale: weight of the image; by default the checkpoint's.
            background_remover: "rembg" or a function, for images without transparency.
            generator: one, or one per object.
            output_type: of images and normals: "pil", "np" or "pt".
            return_dict: return an `MVBoostPipelineOutput` instead of a tuple (gaussians, images, normals).

        Raises:
            ValueError, TypeError: naming the argument, what was found and what is accepted.
        """
        self.check_inputs(strength, init_normals, output_type)
        sampling = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "generator": generator,
        }
        first = views = self.generate_views(image, mask, background_remover=background_remover, **sampling)
        before = gaussians = self.reconstruct(views.images)
        if refine:
            views = self.refine_views(first, self.render_views(before), strength, init_normals, **sampling)
            gaussians = self.reconstruct(views.images)
        images, normals = (as_output(values, output_type) for values in (views.images, views.normals))
        self.maybe_free_model_hooks()
        if not return_dict:
            return gaussians, images, normals
        return MVBoostPipelineOutput(
            gaussians,
            images,
            normals,
            first.condition.pictures.float().cpu(),
            self.view_cameras(),
            before if refine else None,
            as_output(first.images, output_type) if refine else None,
        )

    def check_inputs(self, strength: float, init_normals: str, output_type: str) -> None:
        """Validate what is only used after minutes of work."""
        if not 0 < strength <= 1:
            raise ValueError(f"strength={strength}; accepted are numbers in (0, 1], the paper's is {STRENGTH}")
        if init_normals not in (FIRST_PASS, NOISE, ZEROS):
            raise ValueError(
                f"init_normals={init_normals!r}; accepted are {FIRST_PASS!r}, {NOISE!r} and {ZEROS!r}; maps of your "
                "own go to refine_views"
            )
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r}; accepted are {', '.join(OUTPUT_TYPES)}")

    @torch.no_grad()
    def generate_views(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        mask: PhotoInput | Sequence[PhotoInput] | None = None,
        **options,
    ) -> Era3DPipelineOutput:
        """Views of each object as tensors, from an image of it.

        Args:
            image: see `__call__`.
            mask: see `__call__`.
            options: further arguments of `multiview`.
        """
        return self.multiview(image, mask, output_type="pt", **options)

    @torch.no_grad()
    def reconstruct(self, images: Float[Tensor, "views 3 size size"]) -> Gaussians:
        """The Gaussians, of batch shape [B], of B objects.

        LGM takes the orthographic views for perspective ones, presumably as in the paper.

        Args:
            images: [B * V, 3, S, S] in [0, 1], all generated views of each object, object after object.

        Raises:
            ValueError: if these are not whole objects.
        """
        azimuths = self.config.view_azimuths
        if len(images) == 0 or len(images) % len(azimuths):
            raise ValueError(f"{len(images)} images; accepted are {len(azimuths)} views of each object")
        chosen = images.unflatten(0, (-1, len(azimuths)))[:, [azimuths.index(azimuth) for azimuth in INPUT_AZIMUTHS]]
        config = self.reconstructor.config
        cameras = _copied(self._cameras(INPUT_AZIMUTHS, config.input_size), len(chosen)).to(images.device)
        inputs = prepare_images(chosen.float(), cameras, config.input_size)
        return self.reconstructor(inputs.to(self._execution_device)).gaussians

    def render_views(self, gaussians: Gaussians, size: int | None = None) -> Float[Tensor, "views 3 size size"]:
        """Renders [B * V, 3, S, S] on white of Gaussians [B] from where the views are, in [0, 1]; differentiable.

        Args:
            gaussians: of batch shape [B].
            size: of the renders in pixels; by default that of generated views.
        """
        cameras = self.view_cameras(self.multiview.image_size if size is None else size)
        cameras = _copied(cameras, *gaussians.batch_shape).to(gaussians.device, gaussians.dtype)
        return render_on_white(gaussians, cameras).images.flatten(0, 1).clamp(0, 1)

    def optimize_input_view(
        self,
        gaussians: Gaussians,
        image: PhotoInput,
        mask: PhotoInput | None = None,
        background_remover: BackgroundRemover | str | None = None,
        search: PoseSearch | None = None,
        fit: InputViewFit | None = None,
        lpips: LPIPS | None = None,
    ) -> InputView:
        """Where the image of one object was taken from, and Gaussians that look more like it from there.

        Only those of LGM's view that is nearest to it change. Where no pose shows the image well, none do; a warning
        and `pose.converged` say so.

        Args:
            gaussians: of one object, `output.gaussians[0]`.
            image: see `__call__`.
            mask: see `__call__`.
            background_remover: see `__call__`.
            search: how the pose is found.
            fit: how Gaussians follow.
            lpips: compares image and renders; without it 1 - multi-scale SSIM does.
        """
        cameras = self._cameras(INPUT_AZIMUTHS, self.reconstructor.config.output_size)
        found = find_foreground(image, mask, background_remover)
        shape = replace(found, image=torch.ones_like(found.image))
        picture = found.centered(cameras.width, FOREGROUND_SHARE)
        silhouette = shape.centered(cameras.width, FOREGROUND_SHARE, background=0.0)[:1]
        # the same number of each view, one view after the other
        view_of = torch.arange(len(gaussians)) // (len(gaussians) // len(cameras))
        return optimize_input_view(gaussians, picture, silhouette, cameras, view_of, search, fit, lpips)

    @torch.no_grad()
    def refine_views(
        self,
        views: Era3DPipelineOutput,
        renders: Float[Tensor, "views 3 size size"],
        strength: float = STRENGTH,
        init_normals: str | Sequence[PhotoInput] | Tensor = FIRST_PASS,
        **options,
    ) -> Era3DPipelineOutput:
        """Views as tensors that keep what renders agree about, with the generator's detail (SDEdit).

        Of N steps the last int(N * strength) are gone: of 40 with strength 0.95 those from the 38th last on.

        Args:
            views: of `generate_views`, whose image also conditions this.
            renders: [B * V, 3, S, S], of `render_views`.
            strength: in (0, 1].
            init_normals: "first_pass", "noise", "zeros" or normal maps.
            options: further arguments of `multiview`.
        """
        return self.multiview(
            condition=views.condition,
            strength=strength,
            init_images=renders,
            init_normals=init_normals,
            output_type="pt",
            **options,
        )

    def view_cameras(self, size: int | None = None) -> Cameras:
        """Cameras [V] of the generated views as LGM sees and renders them.

        Args:
            size: of the images in pixels; by default what LGM was trained to render.
        """
        return self._cameras(
            self.config.view_azimuths, self.reconstructor.config.output_size if size is None else size
        )

    def load_lora_weights(self, directory: Path | str, adapter_name: str = "default") -> None:
        """Add a boosting adapter to the reconstructor; see `LGMModel.load_lora_weights`."""
        self.reconstructor.load_lora_weights(directory, adapter_name)

    def fuse_lora(self, adapter_name: str = "default") -> None:
        """Make an adapter part of the reconstructor's weights; see `LGMModel.merge_lora`."""
        self.reconstructor.merge_lora(adapter_name)

    def unload_lora_weights(self) -> None:
        """Remove the adapters from the reconstructor; see `LGMModel.unload_lora`."""
        self.reconstructor.unload_lora()

    def save_pretrained(self, save_directory: Path | str, **options) -> None:
        """Write the pipeline, the generator as a pipeline of its own within; options as in diffusers.

        Raises:
            ValueError: if the reconstructor carries an adapter, instead of which its own weights would be lost.
        """
        if self.reconstructor.lora_adapters:
            raise ValueError(
                f"the reconstructor carries the adapters {', '.join(self.reconstructor.lora_adapters)}; call "
                "fuse_lora() to make one part of it, or unload_lora_weights() to save it without "
                "(reconstructor.save_lora_weights(folder) keeps an adapter)"
            )
        super().save_pretrained(save_directory, **options)

    def to(self, *args, **kwargs) -> "MVBoostPipeline":
        """Move and convert both models; arguments as in diffusers, which leaves pipelines within pipelines alone."""
        self.multiview.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def enable_model_cpu_offload(self, *args, **kwargs) -> None:
        """Keep both models on the CPU but for when they run; arguments as in diffusers, which hooks the one alone."""
        super().enable_model_cpu_offload(*args, **kwargs)
        self.multiview.enable_model_cpu_offload(*args, **kwargs)

    def set_progress_bar_config(self, **kwargs) -> None:
        """Settings of tqdm, for the steps of both passes."""
        super().set_progress_bar_config(**kwargs)
        self.multiview.set_progress_bar_config(**kwargs)

    def _cameras(self, azimuths: Sequence[float], size: int) -> Cameras:
        config = self.reconstructor.config
        return lgm_cameras(azimuths, radius=config.camera_radius, field_of_view=config.field_of_view, size=size)


def _copied(cameras: Cameras, objects: int) -> Cameras:
    """The same cameras [V] for each object: [objects, V]."""
    return cameras[torch.arange(len(cameras)).expand(objects, -1)]
