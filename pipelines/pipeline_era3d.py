"""Era3DPipeline: one image of an object to six normal maps and six colour images (arXiv 2405.11616)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from anyviews.foreground import BackgroundRemover, PhotoInput, find_foreground, photo_tensor
from anyviews.models.era3d import (
    FOREGROUND_SHARE,
    Era3DPixelAutoencoder,
    Era3DPrompts,
    Era3DUNetModel,
    in_rows,
    noised_embeddings,
)

from .output_era3d import Era3DCondition, Era3DPipelineOutput
from .output_mvgd import as_output
from .published_index import PublishedIndexMixin


Generators = torch.Generator | list[torch.Generator] | None

# Of schedules that begin with pure noise.
LARGEST_ETA = 1 - 1e-4

# Initial normals that need no images.
FIRST_PASS, NOISE, ZEROS = "first_pass", "noise", "zeros"


class Era3DPipeline(PublishedIndexMixin):
    """Generates six views of an object, as normal maps and as colour images, from one image.

    Args:
        image_encoder: CLIP, for the embedding of the condition image.
        feature_extractor: prepares images for it.
        image_normalizer: mean and deviation of the embeddings.
        image_noising_scheduler: adds noise to the embeddings, always at level 0.
        vae: images to latents and back.
        unet: denoises all views together.
        prompts: of each view and domain.
        scheduler: DDIM.
        foreground_share: of the picture's side that the object's longer side takes in a condition image.
        num_inference_steps, guidance_scale, eta: what a call does by default.
    """

    model_cpu_offload_seq = "image_encoder->unet->vae"
    _exclude_from_cpu_offload = ["image_normalizer", "prompts"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        image_encoder: CLIPVisionModelWithProjection,
        feature_extractor: CLIPImageProcessorPil,
        image_normalizer: StableUnCLIPImageNormalizer,
        image_noising_scheduler: DDPMScheduler,
        vae: AutoencoderKL | Era3DPixelAutoencoder,
        unet: Era3DUNetModel,
        prompts: Era3DPrompts,
        scheduler: DDIMScheduler,
        foreground_share: float = FOREGROUND_SHARE,
        num_inference_steps: int = 40,
        guidance_scale: float = 3.0,
        eta: float = 1.0,
    ):
        super().__init__()
        self.register_modules(
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            image_normalizer=image_normalizer,
            image_noising_scheduler=image_noising_scheduler,
            vae=vae,
            unet=unet,
            prompts=prompts,
            scheduler=scheduler,
        )
        self.register_to_config(
            foreground_share=foreground_share,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            eta=eta,
        )
        if isinstance(vae, Era3DPixelAutoencoder):
            # it has no weights, which hooks that move weights do not expect
            self.model_cpu_offload_seq = "image_encoder->unet"
            self._exclude_from_cpu_offload = [*self._exclude_from_cpu_offload, "vae"]
        width = 2 * image_encoder.config.projection_dim
        if width != unet.config.projection_class_embeddings_input_dim:
            raise ValueError(
                f"image_encoder gives embeddings with codes of width {width} but unet takes "
                f"{unet.config.projection_class_embeddings_input_dim} (projection_class_embeddings_input_dim); they "
                "must be of one checkpoint"
            )
        if (prompts.config.num_views, prompts.config.dim) != (unet.config.num_views, unet.config.cross_attention_dim):
            raise ValueError(
                f"prompts are for {prompts.config.num_views} views of width {prompts.config.dim} but unet has "
                f"{unet.config.num_views} views of width {unet.config.cross_attention_dim}; they must be of one "
                "checkpoint"
            )

    @property
    def image_size(self) -> int:
        """Side of the generated images in pixels."""
        if isinstance(self.vae, Era3DPixelAutoencoder):
            return self.unet.config.sample_size * self.vae.config.block
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> Tensor | None:
        return self._current_timestep

    @property
    def interrupt(self) -> bool:
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        image: PhotoInput | Sequence[PhotoInput] | None = None,
        mask: PhotoInput | Sequence[PhotoInput] | None = None,
        condition: Era3DCondition | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        eta: float | None = None,
        strength: float | None = None,
        init_images: Sequence[PhotoInput] | Tensor | None = None,
        init_normals: str | Sequence[PhotoInput] | Tensor = FIRST_PASS,
        background_remover: BackgroundRemover | str | None = None,
        foreground_share: float | None = None,
        prepared: bool = False,
        prompt_embeds: Tensor | None = None,
        latents: Tensor | None = None,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Era3DPipelineOutput | tuple:
        """Generate the six views of one object or several; or, with `strength`, refine given ones (SDEdit).

        Args:
            image: with transparency, or with `mask` or `background_remover`; a list for several objects.
            mask: white on the object, one per image.
            condition: of an earlier call's output, instead of `image`.
            num_inference_steps: denoising steps; by default the checkpoint's.
            guidance_scale: weight of the condition, for each domain; by default the checkpoint's.
            eta: 1 draws new noise at every step, 0 none; by default the checkpoint's.
            strength: with `init_images`, start from these with noise, and go only the last
                int(num_inference_steps * strength) steps; in (0, 1].
            init_images: six colour images per object, object after object.
            init_normals: alike, or "first_pass" (those that the call of `condition` ended with), "noise", "zeros".
            background_remover: "rembg" or a function, for images without transparency.
            foreground_share: of the picture's side that the object's longer side takes; by default the checkpoint's.
            prepared: take images as they are: of the model's size, the object centred on white.
            prompt_embeds: [12, tokens, width], of normal maps, then of colour images; by default the checkpoint's.
            latents: [12 * objects, channels, s, s], instead of random ones; rows are (domain, object, view).
            generator: one, or one per object.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: return an `Era3DPipelineOutput` instead of (normals, images).
            callback_on_step_end: called as (pipeline, step, timestep, tensors) after every step.
            callback_on_step_end_tensor_inputs: names of tensors given to it: "latents".

        Raises:
            ValueError, TypeError: naming the argument, what was found and what is accepted.
        """
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        self._guidance_scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        eta = self.config.eta if eta is None else eta
        if self.scheduler.alphas_cumprod[-1] == 0:
            # from pure noise eta 1 leaves the root of nothing, which rounding can make negative
            eta = min(eta, LARGEST_ETA)
        self.check_inputs(
            image, condition, steps, strength, init_images, latents, output_type, callback_on_step_end_tensor_inputs
        )
        if condition is None:
            pictures = self.prepare_pictures(image, mask, background_remover, foreground_share, prepared)
            self._check_generators(generator, len(pictures))
            condition = self.encode(pictures, prompt_embeds, generator)
        self._check_generators(generator, len(condition.latents))
        timesteps = self.prepare_timesteps(steps, strength)
        if latents is None:
            latents = self.prepare_latents(condition, generator)
        if init_images is not None:
            latents = self.noised_latents(latents, init_images, init_normals, timesteps[0], condition)
        latents, poses = self.denoise(
            latents, condition, timesteps, eta, generator, callback_on_step_end, callback_on_step_end_tensor_inputs
        )
        normals, colors = latents.chunk(2)
        condition = replace(condition, normal_latents=normals)
        normals, colors = (self.decode(half, output_type) for half in (normals, colors))
        self.maybe_free_model_hooks()
        if not return_dict:
            return normals, colors
        return Era3DPipelineOutput(normals, colors, None if poses is None else poses.float().cpu(), condition)

    def check_inputs(
        self, image, condition, steps, strength, init_images, latents, output_type, callback_tensors
    ) -> None:
        """Validate the arguments of a call that belong together."""
        if (image is None) == (condition is None):
            raise ValueError("give either image, or condition of an earlier call's output; found both or neither")
        if (strength is None) != (init_images is None):
            raise ValueError("strength and init_images belong together: both to refine views, or none to generate")
        if strength is not None and not 0 < strength <= 1:
            raise ValueError(f"strength={strength}; accepted are numbers in (0, 1], the paper's is 0.95")
        if steps < 1 or (strength is not None and _kept_steps(steps, strength) < 1):
            raise ValueError(f"num_inference_steps={steps} with strength={strength} leaves no step; raise one of them")
        if latents is not None and latents.shape[1:] != self._latent_shape:
            accepted = ", ".join(map(str, self._latent_shape))
            raise ValueError(f"latents has shape {tuple(latents.shape)}; accepted is [rows, {accepted}]")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type={output_type!r}; accepted are pil, np, pt, latent")
        unknown = set(callback_tensors) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs holds {sorted(unknown)}; accepted are some of "
                f"{self._callback_tensor_inputs}"
            )

    def prepare_pictures(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        mask: PhotoInput | Sequence[PhotoInput] | None = None,
        background_remover: BackgroundRemover | str | None = None,
        foreground_share: float | None = None,
        prepared: bool = False,
    ) -> Tensor:
        """Condition images [B, 3, S, S] in [0, 1]: objects cut out, centred and on white; see `__call__`.

        Raises:
            ValueError: if the object of an image cannot be found, or an image to be taken as it is has another size.
        """
        images = list(image) if isinstance(image, list | tuple) else [image]
        masks = [None] * len(images) if mask is None else list(mask) if isinstance(mask, list | tuple) else [mask]
        if len(images) != len(masks) or not images:
            raise ValueError(
                f"{len(images)} images and {len(masks)} masks; give at least one image, one mask for each"
            )
        share = self.config.foreground_share if foreground_share is None else foreground_share
        if not 0 < share <= 1:
            raise ValueError(f"foreground_share={share}; accepted are numbers in (0, 1]")
        size, pictures = self.image_size, []
        for i, (photo, photo_mask) in enumerate(zip(images, masks, strict=True)):
            name = f"image {i}" if len(images) > 1 else "image"
            if not prepared:
                found = find_foreground(photo, photo_mask, background_remover, name)
                pictures.append(found.centered(size, share))
                continue
            picture = photo_tensor(photo, name)
            if picture.shape != (3, size, size):
                raise ValueError(
                    f"{name} has shape {tuple(picture.shape)}; with prepared=True accepted is [3, {size}, {size}], "
                    "an object centred on white"
                )
            pictures.append(picture)
        return torch.stack(pictures)

    def encode(
        self, pictures: Tensor, prompt_embeds: Tensor | None = None, generator: Generators = None
    ) -> Era3DCondition:
        """What every step needs of the condition images [B, 3, S, S]; computed once per object.

        Pictures are cut to 8 bits first, as the released checkpoints had them.
        """
        device, views = self._execution_device, self.unet.config.num_views
        bytes_ = (pictures * 255).to(torch.uint8)
        pictures = bytes_.float() / 255
        latents = self.to_latents(pictures)
        pixels = self.feature_extractor(images=list(bytes_.movedim(1, -1).cpu().numpy()), return_tensors="pt")
        embeds = self.image_encoder(pixels["pixel_values"].to(device, self.image_encoder.dtype)).image_embeds
        noise = self._noise(embeds.shape[1:], len(pictures), generator)
        labels = noised_embeddings(in_rows(embeds, views), noise, self.image_normalizer, self.image_noising_scheduler)
        if prompt_embeds is None:
            prompt_embeds = self.prompts()
        expected = (2 * views, self.unet.config.cross_attention_dim)
        if (len(prompt_embeds), prompt_embeds.shape[-1]) != expected:
            raise ValueError(
                f"prompt_embeds has shape {tuple(prompt_embeds.shape)}; accepted is [{expected[0]}, tokens, "
                f"{expected[1]}], of normal maps, then of colour images"
            )
        prompts = self.unet.cache_prompts(prompt_embeds.to(device, self.unet.dtype))
        return Era3DCondition(pictures, latents, labels, prompts)

    def to_latents(self, images: Tensor) -> Tensor:
        """Latents of images [N, 3, S, S] in [0, 1]."""
        images = images.to(self._execution_device, self.vae.dtype)
        found = [self.vae.encode(2 * part - 1).latent_dist.mode() for part in images.split(self.unet.config.num_views)]
        return torch.cat(found).float() * self.vae.config.scaling_factor

    def prepare_timesteps(self, num_inference_steps: int, strength: float | None = None) -> Tensor:
        """The scheduler's timesteps; with `strength` the last int(num_inference_steps * strength) of them."""
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        timesteps = self.scheduler.timesteps
        return timesteps if strength is None else timesteps[-_kept_steps(num_inference_steps, strength) :]

    def prepare_latents(self, condition: Era3DCondition, generator: Generators = None) -> Tensor:
        """Pure noise for all rows."""
        return self._noise(self._latent_shape, len(condition.latents), generator) * self.scheduler.init_noise_sigma

    def noised_latents(
        self,
        noise: Tensor,
        init_images: Sequence[PhotoInput] | Tensor,
        init_normals: str | Sequence[PhotoInput] | Tensor,
        timestep: Tensor,
        condition: Era3DCondition,
    ) -> Tensor:
        """Latents of given views with noise of a timestep; see `__call__`."""
        count = len(condition.latents) * self.unet.config.num_views
        colors = self.to_latents(self._given_views(init_images, "init_images", count))
        if not isinstance(init_normals, str):
            normals = self.to_latents(self._given_views(init_normals, "init_normals", count))
        elif init_normals == FIRST_PASS:
            if condition.normal_latents is None:
                raise ValueError(
                    f"init_normals={FIRST_PASS!r} needs the condition of an earlier output, as in condition="
                    f"pipe(image).condition; else give six normal maps per object, {NOISE!r} or {ZEROS!r}"
                )
            normals = condition.normal_latents
        elif init_normals in (NOISE, ZEROS):
            normals = torch.zeros_like(colors)
        else:
            raise ValueError(
                f"init_normals={init_normals!r}; accepted are {FIRST_PASS!r}, {NOISE!r}, {ZEROS!r} and images"
            )
        noised = self.scheduler.add_noise(torch.cat([normals, colors]), noise, timestep.expand(2 * count))
        if isinstance(init_normals, str) and init_normals == NOISE:
            noised[:count] = noise[:count]
        return noised

    def denoise(
        self,
        latents: Tensor,
        condition: Era3DCondition,
        timesteps: Tensor,
        eta: float = 1.0,
        generator: Generators = None,
        callback_on_step_end: Callable | None = None,
        callback_tensors: Sequence[str] = ("latents",),
    ) -> tuple[Tensor, Tensor | None]:
        """Run the scheduler's steps on all rows; also returns the poses of the last step."""
        self._num_timesteps, self._interrupt, self._current_timestep = len(timesteps), False, None
        objects = len(condition.latents)
        images = self._with_empty(in_rows(condition.latents, self.unet.config.num_views))
        labels = self._with_empty(condition.class_labels)
        poses = None
        with self.progress_bar(total=len(timesteps)) as progress:
            for step, timestep in enumerate(timesteps):
                if self.interrupt:
                    continue
                self._current_timestep = timestep
                noisy = self._copied(latents)
                output = self.unet(
                    torch.cat([noisy, images], dim=1).to(self.unet.dtype),
                    timestep,
                    condition.prompts,
                    labels.to(self.unet.dtype),
                )
                prediction = self._guided(output.sample.float())
                poses = None if output.poses is None else output.poses[-objects:]
                noise = self._noise(self._latent_shape, objects, generator) if eta > 0 else None
                latents = self.scheduler.step(prediction, timestep, latents, eta=eta, variance_noise=noise).prev_sample
                if callback_on_step_end is not None:
                    values = {"latents": latents}
                    given = callback_on_step_end(
                        self, step, timestep, {name: values[name] for name in callback_tensors}
                    )
                    latents = given.pop("latents", latents)
                progress.update()
        self._current_timestep = None
        return latents, poses

    def decode(self, latents: Tensor, output_type: str = "pt"):
        """Images of latents [N, channels, s, s], as asked for."""
        if output_type == "latent":
            return latents
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        parts = [self.vae.decode(part).sample.float() for part in scaled.split(self.unet.config.num_views)]
        return as_output((torch.cat(parts) / 2 + 0.5).clamp(0, 1).cpu(), output_type)

    def _copied(self, rows: Tensor) -> Tensor:
        """With guidance each domain twice in a row: without condition, then with it."""
        if not self.do_classifier_free_guidance:
            return rows
        return torch.cat([half for half in rows.chunk(2) for _ in range(2)])

    def _with_empty(self, rows: Tensor) -> Tensor:
        """With guidance each domain's condition after as many zeros."""
        if not self.do_classifier_free_guidance:
            return rows
        return torch.cat([part for half in rows.chunk(2) for part in (torch.zeros_like(half), half)])

    def _guided(self, rows: Tensor) -> Tensor:
        if not self.do_classifier_free_guidance:
            return rows
        without, given = rows.unflatten(0, (2, 2, -1)).unbind(1)
        return (without + self._guidance_scale * (given - without)).flatten(0, 1)

    @property
    def _latent_shape(self) -> tuple[int, int, int]:
        config = self.unet.config
        return config.out_channels, config.sample_size, config.sample_size

    def _noise(self, shape: tuple[int, ...], objects: int, generator: Generators) -> Tensor:
        """Standard normal numbers for all rows, each object's from its own generator if there is one."""
        device, views = self._execution_device, self.unet.config.num_views
        if not isinstance(generator, list):
            return randn_tensor((2 * objects * views, *shape), generator=generator, device=device)
        drawn = [randn_tensor((2, views, *shape), generator=one, device=device) for one in generator]
        return torch.stack(drawn, dim=1).flatten(0, 2)

    def _check_generators(self, generator: Generators, objects: int) -> None:
        if isinstance(generator, list) and len(generator) != objects:
            raise ValueError(f"{len(generator)} generators for {objects} objects; give one, or one per object")

    def _given_views(self, images: Sequence[PhotoInput] | Tensor, name: str, count: int) -> Tensor:
        """Given images [count, 3, S, S] at the size of generated ones; transparent parts become white."""
        if len(images) != count:
            raise ValueError(
                f"{name} holds {len(images)} images; accepted are {count}: "
                f"{self.unet.config.num_views} views of each object, object after object"
            )
        size, tensors = (self.image_size, self.image_size), []
        for i, image in enumerate(images):
            pixels = photo_tensor(image, f"{name}[{i}]")
            if len(pixels) == 4:
                pixels = pixels[:3] * pixels[3:] + 1 - pixels[3:]
            pixels = pixels.expand(3, -1, -1)
            if pixels.shape[1:] != size:
                pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
            tensors.append(pixels)
        return torch.stack(tensors)


def _kept_steps(num_inference_steps: int, strength: float) -> int:
    # a product such as 100 * 0.29 comes out a rounding below the whole number
    return math.floor(num_inference_steps * strength + 1e-9)
