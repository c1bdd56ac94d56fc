"""LIRM: posed, masked photos of an object to its shape, materials and radiance, refined by further photos.

Source: "LIRM: Large Inverse Rendering Model for Progressive Reconstruction of Shape, Materials and View-dependent
Radiance Fields" (arXiv 2504.20026). Deviations and open choices are listed in docs/methods/lirm.md.
"""

from dataclasses import dataclass, replace
from typing import no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...geometry.rays import pluecker
from ..strict_loading import StrictLoadingMixin
from .configuration_lirm import LIRMConfig
from .decoders_lirm import LIRMDecoders, LIRMFields
from .layers_lirm import LIRMMLP, LIRMLayer, LIRMLinear, LIRMPatchEmbedding
from .occupancy_lirm import LIRMOccupancy, distances_on_grid, find_occupancy
from .photos_lirm import read_photos
from .planes_lirm import LIRMPlanes, Rows, weighted_rows
from .rendering_lirm import SKIPPED_WEIGHT, LIRMRender, RaySettings, in_batches, ray_chunks, render_rays
from .state_lirm import LIRMState
from .sweep_lirm import LIRMSweep, gather_evidence


@no_type_check  # a ModelOutput may also be made of one dictionary, as offloading does
@dataclass
class LIRMOutput(ModelOutput):
    """What one update gives.

    Args:
        state: to update again with further photos.
        planes: to query, to render and to take the surface from.
    """

    state: LIRMState | None = None
    planes: LIRMPlanes | None = None


class LIRMModel(StrictLoadingMixin, PreTrainedModel):
    """Shape, materials and radiance of objects from photos with known cameras.

    The object lies around the origin, inside the radius config.bbox_radius. Cameras enter as rays alone.
    """

    config: LIRMConfig
    config_class = LIRMConfig
    base_model_prefix = "lirm"
    main_input_name = "images"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["LIRMLayer", "LIRMDecoders"]
    _keep_in_fp32_modules_strict = ["decoders"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: LIRMConfig):
        super().__init__(config)
        width = config.hidden_size
        self.patch_embedding = LIRMPatchEmbedding(config)
        self.sweep = LIRMSweep(config) if config.sweep_size else None
        self.plane_embedding = nn.Parameter(torch.empty(config.num_plane_tokens, width))
        self.plane_fuse = self._fuse_layer()
        self.layers = nn.ModuleList(LIRMLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.plane_unpatchify = LIRMLinear(width, config.plane_dim * config.plane_upsample**2, config.weight_norm)
        if config.num_panorama_tokens:
            self.panorama_embedding = nn.Parameter(torch.empty(config.num_panorama_tokens, width))
            self.panorama_fuse = None if config.fuse_shared else self._fuse_layer()
            self.panorama_unpatchify = LIRMLinear(width, config.nde_dim * config.nde_upsample**2, config.weight_norm)
        self.decoders = LIRMDecoders(config)
        self.post_init()

    @classmethod
    def from_size(cls, size: str, **overrides) -> "LIRMModel":
        """A randomly initialised model of size "tiny", "small" or "base", with any config field overridden."""
        return cls(LIRMConfig.from_size(size, **overrides))

    def _fuse_layer(self) -> LIRMMLP:
        config = self.config
        fuse = LIRMMLP(
            2 * config.hidden_size, config.fuse_hidden_size, config.hidden_size, config.fuse_activation, False
        )
        fuse.down.starts_at_zero = config.fuse_residual
        return fuse

    def forward(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        origins: Float[Tensor, "batch views 3 height width"],
        directions: Float[Tensor, "batch views 3 height width"],
        backgrounds: Float[Tensor, "batch views 3 height width"] | None = None,
        state: LIRMState | None = None,
        return_dict: bool = True,
    ) -> LIRMOutput | tuple:
        """Update objects by one set of photos, see `encode_images`, `update` and `decode_planes`."""
        photos = (images, origins, directions, backgrounds)
        known = None if state is None else state.photos
        state = self.update(self.encode_images(*photos), state, self.gather_evidence(*photos, state=state))
        if self.config.use_photos:
            kept = read_photos(*photos, known)
            state = replace(state, photo_maps=kept.maps, photo_cameras=kept.cameras)
        output = LIRMOutput(state=state, planes=self.decode_planes(state))
        return output if return_dict else output.to_tuple()

    def encode_images(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        origins: Float[Tensor, "batch views 3 height width"],
        directions: Float[Tensor, "batch views 3 height width"],
        backgrounds: Float[Tensor, "batch views 3 height width"] | None = None,
    ) -> Float[Tensor, "batch tokens channels"]:
        """Tokens of one set of photos.

        Args:
            images: sRGB in [-1, 1], the object on white; height and width are multiples of config.patch_size.
            origins, directions: of the rays through the pixels' centres, in the object frame; directions are unit.
            backgrounds: the same photos before masking, sRGB in [-1, 1]; they show the light.

        Raises:
            ValueError: if the size is no multiple of the patch size, or backgrounds are given to a model without them.
        """
        (height, width), patch = images.shape[-2:], self.config.patch_size
        if height % patch or width % patch:
            raise ValueError(
                f"images of {height}x{width} pixels do not divide into patches; both sides must be multiples of "
                f"{patch}"
            )
        if backgrounds is not None and not self.config.use_background:
            raise ValueError("this model reads no backgrounds (use_background=False); leave them out")
        rays = pluecker(origins.movedim(2, -1), directions.movedim(2, -1)).movedim(-1, 2)
        views = [None if maps is None else maps.flatten(0, 1) for maps in (images, rays, backgrounds)]
        return self.patch_embedding(*views).unflatten(0, images.shape[:2]).flatten(1, 2)

    def gather_evidence(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        origins: Float[Tensor, "batch views 3 height width"],
        directions: Float[Tensor, "batch views 3 height width"],
        backgrounds: Float[Tensor, "batch views 3 height width"] | None = None,
        state: LIRMState | None = None,
    ) -> Float[Tensor, "batch points channels"] | None:
        """What this set of photos and those before it show at the points of a grid; None without config.sweep_size.

        Args:
            images, origins, directions, backgrounds: see `encode_images`.
            state: after the earlier sets; None for the first.
        """
        if self.sweep is None:
            return None
        return gather_evidence(self.config, images, origins, directions, backgrounds, state and state.evidence)

    def update(
        self,
        image_tokens: Float[Tensor, "batch tokens width"],
        state: LIRMState | None = None,
        evidence: Float[Tensor, "batch points channels"] | None = None,
    ) -> LIRMState:
        """What is known of the objects after another set of photos (Eq. 5).

        Args:
            image_tokens: of this set, from `encode_images`. Those of earlier sets are not needed.
            state: after the earlier sets; None for the first.
            evidence: of `gather_evidence`, with config.sweep_size.

        Raises:
            ValueError: if the state is that of another model, or of another number of objects.
        """
        self._check_state(state, len(image_tokens))
        if state is not None and state.updates % (self.config.bptt_steps + 1) == 0:
            state = state.detach()
        tokens = [self._fuse(self.plane_fuse, self.plane_embedding, state and state.planes)]
        if self.sweep is not None:
            if evidence is None:
                raise ValueError("this model asks for evidence (sweep_size above 0); give that of gather_evidence")
            tokens[0] = tokens[0] + self.sweep.tokens(evidence).to(tokens[0].dtype)
        if self.config.num_panorama_tokens:
            fuse = self.plane_fuse if self.panorama_fuse is None else self.panorama_fuse
            tokens.append(self._fuse(fuse, self.panorama_embedding, state and state.panoramas))
        tokens = [part.expand(len(image_tokens), -1, -1) for part in tokens]
        states = torch.cat([*tokens, image_tokens.to(tokens[0].dtype)], dim=1)

        num_objects = sum(part.shape[1] for part in tokens)
        for layer in self.layers[:-1]:
            states = layer(states, states.shape[1])
        states = self.layers[-1](states, num_objects)  # nothing reads the photos' tokens any more
        if self.config.state_after_norm:
            states = self.norm(states)
        parts = states.split([part.shape[1] for part in tokens], dim=1)
        return LIRMState(*parts, updates=1 if state is None else state.updates + 1, evidence=evidence)

    def decode_planes(self, state: LIRMState) -> LIRMPlanes:
        """Feature planes and panoramas of a state, in float32."""
        config = self.config
        norm = nn.Identity() if config.state_after_norm else self.norm
        planes = _unpatchify(self.plane_unpatchify(norm(state.planes)), config.num_planes, config.plane_upsample)
        if self.sweep is not None:
            planes = planes + self.sweep.texels(state.evidence)
        if state.panoramas is None:
            return LIRMPlanes(planes.float(), photos=state.photos)
        square = _unpatchify(self.panorama_unpatchify(norm(state.panoramas)), 1, config.nde_upsample)
        side, size = config.panoramas_per_side, config.panorama_resolution
        square = square.reshape(len(square), side, size, side, size, -1)
        panoramas = square.transpose(2, 3).flatten(1, 2).contiguous()  # top left, top right, bottom left ...
        return LIRMPlanes(planes.float(), panoramas.float(), state.photos)

    def query(
        self,
        planes: LIRMPlanes,
        points: Float[Tensor, "batch points 3"],
        view_directions: Float[Tensor, "batch points 3"] | None = None,
        *,
        chunk: int | None = None,
        with_features: bool = False,
    ) -> LIRMFields:
        """Signed distance, normal, materials and radiance at points.

        Args:
            planes: of `decode_planes`.
            points: in the object frame; those outside of the box are looked up at its edge. They get no gradients.
            view_directions: unit, from the viewer to the point; by default along the normal.
            chunk: so many points at a time, which bounds memory where no gradients are recorded.
            with_features: also give the interpolated features.
        """
        batch = len(points)
        with self._in_float32(points):
            tables = self.decoders.project(planes)
            directions = points if view_directions is None else view_directions
            parts = []
            for some, along, objects in ray_chunks(points, directions, chunk):
                rows = self.decoders.corners(some, objects)
                along = None if view_directions is None else along
                first = self.decoders.first_distances(tables, some, objects)
                distances = self.decoders.signed_distances(tables, rows, first)
                part = self.decoders.appearance(tables, some, along, objects, rows, distances)
                part["sdf"] = distances[:, None]
                if with_features:
                    apart = Rows(rows.indices.view(-1, 4), rows.weights.view(-1, 4))
                    part["features"] = weighted_rows(planes.planes.flatten(0, -2), apart).view(len(some), -1)
                parts.append(part)
        return LIRMFields(**{k: torch.cat([part[k] for part in parts]).unflatten(0, (batch, -1)) for k in parts[0]})

    def signed_distances(
        self, planes: LIRMPlanes, points: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Signed distances alone, see `query`."""
        with self._in_float32(points):
            tables = self.decoders.project_distances(planes)
            [(some, _, objects)] = ray_chunks(points, points, None)
            first = self.decoders.first_distances(tables, some, objects)
            found = self.decoders.signed_distances(tables, self.decoders.corners(some, objects), first)
        return found.unflatten(0, points.shape[:2])

    @torch.no_grad()
    def signed_distances_on_grid(
        self, planes: LIRMPlanes, coordinates: Float[Tensor, "size"]
    ) -> Float[Tensor, "batch size size size"]:
        """Signed distances at all points whose x, y and z are among `coordinates`, as marching cubes wants them.

        This takes a fraction of the time of `query`, because nothing is looked up point by point.
        """
        with self._in_float32(coordinates):
            return distances_on_grid(self.decoders, self.decoders.project_distances(planes), coordinates)

    @torch.no_grad()
    def find_occupancy(
        self,
        planes: LIRMPlanes,
        *,
        samples: int | None = None,
        sharpness: float | None = None,
        resolution: int | None = None,
    ) -> LIRMOccupancy:
        """Cells of the box that `render` need look at; what it leaves out weighs less than 1e-4 of a pixel.

        Args:
            planes: of `decode_planes`.
            samples, sharpness: that will be given to `render`.
            resolution: cells per side, even; by default half of the planes'.

        Raises:
            ValueError: if the resolution is odd.
        """
        resolution = max(2, self.config.plane_resolution // 4 * 2) if resolution is None else resolution
        if resolution % 2:
            raise ValueError(
                f"resolution={resolution} is odd; cells must not lie on both sides of an axis: give an even one"
            )
        distance = self._settings(samples, sharpness).invisible_distance(self.config.box_radius)
        with self._in_float32(planes.planes):
            return find_occupancy(self.decoders, self.decoders.project_distances(planes), resolution, distance)

    def render(
        self,
        planes: LIRMPlanes,
        origins: Float[Tensor, "batch rays 3"],
        directions: Float[Tensor, "batch rays 3"],
        *,
        samples: int | None = None,
        sharpness: float | None = None,
        chunk: int | None = None,
        occupancy: LIRMOccupancy | None = None,
        numerical_normals: bool = False,
        skipped_weight: float = SKIPPED_WEIGHT,
    ) -> LIRMRender:
        """Volume-render all maps along rays.

        Args:
            planes: of `decode_planes`.
            origins, directions: in the object frame; directions are unit. They get no gradients.
            samples: along the diagonal of the box; by default config.num_samples.
            sharpness: inverse deviation of the density; by default config.sdf_inv_std.
            chunk: so many rays at a time, of all objects, which bounds memory where no gradients are recorded; with
                them, see `deferred_loss`.
            occupancy: from `find_occupancy`, to skip what cannot be seen.
            numerical_normals: also give normals of the signed distances.
            skipped_weight: samples that are left out weigh less than this in total, per ray.
        """
        settings = self._settings(samples, sharpness, occupancy, numerical_normals, skipped_weight)
        with self._in_float32(origins):
            tables = self.decoders.project(planes)
            chunks = ray_chunks(origins, directions, chunk)
            return in_batches([render_rays(self.decoders, tables, *rays, settings) for rays in chunks], len(origins))

    def _settings(self, samples: int | None, sharpness: float | None, *further) -> RaySettings:
        samples = self.config.num_samples if samples is None else samples
        sharpness = self.config.sdf_inv_std if sharpness is None else sharpness
        if samples < 1 or sharpness <= 0:
            raise ValueError(f"samples={samples} must be 1 or more, and sharpness={sharpness} above 0")
        return RaySettings(samples, sharpness, *further, inset=self.config.density_inset)

    def _in_float32(self, tensor: Tensor) -> torch.autocast:
        """Distances and densities are exponentiated; half precision would show as noise."""
        return torch.autocast(tensor.device.type, enabled=False)

    def _fuse(self, fuse: LIRMMLP, embedding: Tensor, known: Tensor | None) -> Tensor:
        """Learned tokens that know the state; zeros stand for what is not known yet."""
        known = torch.zeros_like(embedding)[None] if known is None else known.to(embedding.dtype)
        learned = embedding.expand(len(known), -1, -1)
        fused = fuse(torch.cat([known, learned], dim=-1)).to(embedding.dtype)
        return learned + fused if self.config.fuse_residual else fused

    def _check_state(self, state: LIRMState | None, batch: int) -> None:
        if state is None:
            return
        width, panoramas = self.config.hidden_size, self.config.num_panorama_tokens
        found = [tuple(state.planes.shape), tuple(state.panoramas.shape) if state.panoramas is not None else None]
        wanted = [(batch, self.config.num_plane_tokens, width), (batch, panoramas, width) if panoramas else None]
        if found != wanted:
            raise ValueError(
                f"the state's planes and panoramas have shapes {found}; this model and these photos need {wanted}. A "
                "state belongs to the model that made it and to as many objects"
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal weights cut at two deviations and no biases; small decoders; the background branch starts at zero."""
        if isinstance(module, nn.Linear | nn.Conv2d | LIRMLinear):
            # the marks are on the layers themselves: transformers skips modules that own no parameters
            if getattr(module, "starts_at_zero", False):
                init.zeros_(module.weight)
            elif hasattr(module, "gain"):
                init.xavier_uniform_(module.weight, gain=module.gain)
            else:
                init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            if getattr(module, "length", None) is not None:
                init.copy_(module.length, module.weight.norm(dim=1, keepdim=True))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, LIRMModel):
            deviation = (2 * self.config.plane_token_size**2) ** -0.5
            init.normal_(self.plane_embedding, std=deviation)
            if self.config.num_panorama_tokens:
                init.normal_(self.panorama_embedding, std=deviation)


def _unpatchify(
    tokens: Float[Tensor, "batch tokens values"], count: int, factor: int
) -> Float[Tensor, "batch count size size channels"]:
    """Squares of tokens to squares of texels, `factor` per side of a token."""
    side = round((tokens.shape[1] // count) ** 0.5)
    texels = tokens.reshape(len(tokens), count, side, side, factor, factor, -1)
    return texels.transpose(3, 4).reshape(len(tokens), count, side * factor, side * factor, -1)
