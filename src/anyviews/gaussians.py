"""Gaussians: coloured 3D Gaussians, what splatting methods return and every Gaussian exporter takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .geometry.quaternions import matrix_to_quaternion, multiply_quaternions, quaternion_to_matrix
from .geometry.similarity import Similarity
from .geometry.spherical_harmonics import CONSTANT_HARMONIC, MAX_DEGREE, rotate_harmonics


FIELDS = ("means", "rotations", "scales", "opacities", "spherical_harmonics")

# Quaternions whose largest component is not above this have no direction that rounding leaves alone.
SHORTEST_QUATERNION = 1e-6


@dataclass(frozen=True)
class Gaussians:
    """3D Gaussians with any leading batch dimensions; every value is the one that is rendered, not its logarithm.

    Args:
        means: [*batch, N, 3] in world units.
        rotations: [*batch, N, 4], quaternions (w, x, y, z) of any length but zero, from Gaussian axes to the world.
        scales: [*batch, N, 3], standard deviations along the Gaussian's axes in world units; 0 makes a flat one.
        opacities: [*batch, N] in [0, 1].
        spherical_harmonics: [*batch, N, K, 3], K = 1, 4, 9 or 16 coefficients for degrees 0 to 3. The colour seen
            along a direction is their sum plus 0.5, not below 0 (Kerbl et al., SIGGRAPH 2023).

    Raises:
        ValueError: if the shapes do not fit together. Values are checked by `validate`.
    """

    means: Float[Tensor, "*batch gaussians 3"]
    rotations: Float[Tensor, "*batch gaussians 4"]
    scales: Float[Tensor, "*batch gaussians 3"]
    opacities: Float[Tensor, "*batch gaussians"]
    spherical_harmonics: Float[Tensor, "*batch gaussians coefficients 3"]

    def __post_init__(self):
        leading = tuple(self.opacities.shape)
        wanted = {"means": (*leading, 3), "rotations": (*leading, 4), "scales": (*leading, 3)}
        found = {name: tuple(getattr(self, name).shape) for name in wanted}
        harmonics = tuple(self.spherical_harmonics.shape)
        accepted = [(*leading, (degree + 1) ** 2, 3) for degree in range(MAX_DEGREE + 1)]
        if not leading or found != wanted or harmonics not in accepted:
            raise ValueError(
                f"the shapes of Gaussians do not fit together: opacities {leading}, {found}, spherical_harmonics "
                f"{harmonics}; accepted are [*batch, N], [*batch, N, 3 or 4] and [*batch, N, 1, 4, 9 or 16, 3]"
            )

    @classmethod
    def from_colors(
        cls,
        means: Float[Tensor, "*batch gaussians 3"],
        rotations: Float[Tensor, "*batch gaussians 4"],
        scales: Float[Tensor, "*batch gaussians 3"],
        opacities: Float[Tensor, "*batch gaussians"],
        colors: Float[Tensor, "*batch gaussians 3"],
    ) -> "Gaussians":
        """Gaussians of the same colour [*batch, N, 3] (sRGB in [0, 1]) from every side."""
        return cls(means, rotations, scales, opacities, ((colors - 0.5) / CONSTANT_HARMONIC)[..., None, :])

    @classmethod
    def from_raw(
        cls,
        means: Float[Tensor, "*batch gaussians 3"],
        rotations: Float[Tensor, "*batch gaussians 4"],
        log_scales: Float[Tensor, "*batch gaussians 3"],
        opacity_logits: Float[Tensor, "*batch gaussians"],
        spherical_harmonics: Float[Tensor, "*batch gaussians coefficients 3"],
    ) -> "Gaussians":
        """Gaussians from what optimisers and files keep: logarithms of scales and logits of opacities."""
        return cls(means, rotations, log_scales.exp(), opacity_logits.sigmoid(), spherical_harmonics)

    @classmethod
    def cat(cls, parts: Sequence["Gaussians"]) -> "Gaussians":
        """Merge sets of one batch shape into one; the lower degrees are filled up with zeros.

        Raises:
            ValueError: if there is no set, or they differ in batch shape, dtype or device.
        """
        if not parts:
            raise ValueError("there are no Gaussians to merge; give at least one set")
        kinds = {(part.batch_shape, part.dtype, str(part.device)) for part in parts}
        if len(kinds) > 1:
            raise ValueError(
                f"Gaussians to merge must agree in batch shape, dtype and device; found {sorted(map(str, kinds))}"
            )
        degree = max(part.degree for part in parts)
        parts = [part.with_degree(degree) for part in parts]
        axes = {name: len(parts[0].batch_shape) for name in FIELDS}
        return cls(**{name: torch.cat([getattr(part, name) for part in parts], dim=axes[name]) for name in FIELDS})

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.opacities.shape[:-1])

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def dtype(self) -> torch.dtype:
        return self.means.dtype

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return math.isqrt(self.spherical_harmonics.shape[-2]) - 1

    @property
    def colors(self) -> Float[Tensor, "*batch gaussians 3"]:
        """Colours averaged over all directions, unclamped."""
        return self.spherical_harmonics[..., 0, :] * CONSTANT_HARMONIC + 0.5

    @property
    def log_scales(self) -> Float[Tensor, "*batch gaussians 3"]:
        """Logarithms of the scales; those of flat Gaussians are the lowest that come back as a normal number."""
        return self.scales.clamp(min=torch.finfo(self.dtype).tiny).log()

    @property
    def opacity_logits(self) -> Float[Tensor, "*batch gaussians"]:
        """Logits of the opacities, finite also for 0 and 1."""
        return self.opacities.logit(eps=1e-6)

    def __len__(self) -> int:
        """The number of Gaussians (in each batch entry)."""
        return self.opacities.shape[-1]

    def __getitem__(self, index) -> "Gaussians":
        """Index the batch dimensions, as of a tensor of shape `batch_shape`.

        Raises:
            IndexError: if there are no batch dimensions; `select` picks Gaussians.
        """
        if not self.batch_shape:
            raise IndexError("these Gaussians have no batch dimension to index; use select(...) to pick Gaussians")
        return Gaussians(**{name: getattr(self, name)[index] for name in FIELDS})

    def unbind(self) -> list["Gaussians"]:
        """The entries of the first batch dimension."""
        return [self[index] for index in range(self.batch_shape[0])]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Gaussians":
        """Move to a device or to another floating-point type."""
        return Gaussians(**{name: getattr(self, name).to(device=device, dtype=dtype) for name in FIELDS})

    def detach(self) -> "Gaussians":
        """The same values without their history."""
        return Gaussians(**{name: getattr(self, name).detach() for name in FIELDS})

    def select(self, chosen: Bool[Tensor, "gaussians"] | Int[Tensor, "chosen"]) -> "Gaussians":
        """The Gaussians that a mask or indices name, of a set without batch dimensions."""
        self._require_one_set("select")
        return Gaussians(**{name: getattr(self, name)[chosen] for name in FIELDS})

    def with_degree(self, degree: int) -> "Gaussians":
        """The same Gaussians with harmonics of another degree: higher ones dropped, or filled up with zeros."""
        if not 0 <= degree <= MAX_DEGREE:
            raise ValueError(f"degree {degree} is not known; accepted are 0 to {MAX_DEGREE}")
        missing = (degree + 1) ** 2 - self.spherical_harmonics.shape[-2]
        harmonics = torch.nn.functional.pad(self.spherical_harmonics, (0, 0, 0, missing))
        return replace(self, spherical_harmonics=harmonics)

    def covariances(self) -> Float[Tensor, "*batch gaussians 3 3"]:
        """Covariance matrices in world units squared."""
        axes = quaternion_to_matrix(self.rotations) * self.scales[..., None, :]
        return axes @ axes.mT

    def normals(self) -> Float[Tensor, "*batch gaussians 3"]:
        """Unit directions of the shortest axes; the sign is arbitrary."""
        shortest = self.scales.argmin(-1)[..., None, None].expand(*self.scales.shape, 1)
        return quaternion_to_matrix(self.rotations).gather(-1, shortest)[..., 0]

    def transform(self, similarity: Similarity) -> "Gaussians":
        """Map the Gaussians, their colours included, to another world: mapped cameras see the same images.

        Args:
            similarity: of batch shape [*batch].
        """
        turn = matrix_to_quaternion(similarity.rotation)[..., None, :]
        return Gaussians(
            similarity.apply(self.means),
            multiply_quaternions(turn, self.rotations),
            self.scales * similarity.scale[..., None, None],
            self.opacities,
            rotate_harmonics(self.spherical_harmonics, similarity.rotation),
        )

    def crop(self, low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> "Gaussians":
        """The Gaussians whose means lie in the box between two corners.

        Raises:
            ValueError: if none does.
        """
        self._require_one_set("crop")
        inside = ((self.means >= low) & (self.means <= high)).all(-1)
        if not inside.any():
            span = "there are none"
            if len(self):
                span = f"their means span {self.means.amin(0).tolist()} to {self.means.amax(0).tolist()}"
            raise ValueError(f"no Gaussian lies between {low.tolist()} and {high.tolist()}; {span}")
        return self.select(inside)

    def prune(self, min_opacity: float = 0.0, percentile: float = 0.0) -> "Gaussians":
        """Leave out faint Gaussians.

        Args:
            min_opacity: those with less are left out.
            percentile: the faintest so many percent are left out; 0 keeps all.

        Raises:
            ValueError: if nothing would remain.
        """
        self._require_one_set("prune")
        if not 0 <= percentile < 100:
            raise ValueError(f"percentile is {percentile}; accepted are 0 (keep all) up to, not including, 100")
        faint = self.opacities.argsort(stable=True)[: int(len(self) * percentile / 100)]
        kept = self.opacities >= min_opacity
        kept[faint] = False
        if not kept.any():
            brightest = self.opacities.max().item() if len(self) else 0.0
            raise ValueError(
                f"none of {len(self)} Gaussians has an opacity of {min_opacity} or more; the largest is {brightest:g}"
            )
        return self.select(kept)

    def validate(self) -> "Gaussians":
        """Raise ValueError that names the first unusable value; return self otherwise."""
        if self.opacities.numel() == 0:
            raise ValueError("the set of Gaussians is empty; give at least one")
        kinds = {name: f"{getattr(self, name).dtype} on {getattr(self, name).device}" for name in FIELDS}
        if len(set(kinds.values())) > 1 or not self.dtype.is_floating_point:
            raise ValueError(f"Gaussians must be of one floating-point dtype on one device; found {kinds}")
        if not self._usable():
            self._explain()
        return self

    def _usable(self) -> Bool[Tensor, ""]:
        """Whether `_explain` would find nothing, from the extremes alone: one pass, and one look at a GPU's answer."""
        bounds = {name: torch.stack(getattr(self, name).detach().aminmax()) for name in FIELDS}
        finite = torch.stack(list(bounds.values())).isfinite().all()
        turned = self.rotations.detach().abs().amax(-1).amin() > SHORTEST_QUATERNION
        within = (bounds["opacities"][0] >= 0) & (bounds["opacities"][1] <= 1)
        return finite & turned & within & (bounds["scales"][0] >= 0)

    def _explain(self) -> None:
        for name in FIELDS:
            values = getattr(self, name)
            self._require(values.isfinite().reshape(*self.opacities.shape, -1).all(-1), name, "NaN or infinity")
        self._require((self.scales >= 0).all(-1), "scales", "a negative standard deviation (log-scales? use from_raw)")
        turned = self.rotations.abs().amax(-1) > SHORTEST_QUATERNION
        self._require(turned, "rotations", "a quaternion of length zero")
        within = (self.opacities >= 0) & (self.opacities <= 1)
        self._require(within, "opacities", "a value outside [0, 1] (logits? use from_raw)")

    def _require(self, accepted: Bool[Tensor, "..."], name: str, problem: str) -> None:
        if not accepted.all():
            index = tuple((~accepted).nonzero()[0].tolist())
            found = getattr(self, name)[index]
            raise ValueError(
                f"{name} of the Gaussians hold {problem}: {int((~accepted).sum())} of {accepted.numel()}, the first "
                f"at {list(index)}, {found.flatten()[:4].tolist()}"
            )

    def _require_one_set(self, action: str) -> None:
        if self.batch_shape:
            raise ValueError(
                f"{action} takes one set of Gaussians but the batch shape is {self.batch_shape}; index it first, as "
                "gaussians[0]"
            )
