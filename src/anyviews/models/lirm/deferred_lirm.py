"""Losses of whole rendered images in bounded memory: render, take the loss's gradient, render again in parts with it.

The graph of a rendered ray holds hundreds of samples. Here no more than a chunk of them exists at a time, whatever the
image's size, so that a loss may look at whole images (LPIPS). The price is one more rendering without gradients.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .decoders_lirm import LIRMTables
from .modeling_lirm import LIRMModel
from .occupancy_lirm import LIRMOccupancy
from .planes_lirm import LIRMPlanes
from .rendering_lirm import SKIPPED_WEIGHT, LIRMRender, RaySettings, in_batches, ray_chunks, render_rays


def deferred_loss(
    model: LIRMModel,
    planes: LIRMPlanes,
    origins: Float[Tensor, "batch rays 3"],
    directions: Float[Tensor, "batch rays 3"],
    image_loss: Callable[[LIRMRender], Tensor],
    *,
    chunk: int,
    samples: int | None = None,
    sharpness: float | None = None,
    occupancy: LIRMOccupancy | None = None,
    numerical_normals: bool = False,
    skipped_weight: float = SKIPPED_WEIGHT,
) -> tuple[Float[Tensor, ""], LIRMRender]:
    """A loss of rendered images whose `backward` reaches the planes and the decoders.

    It equals `image_loss(model.render(...))` in value and gradients, except that gradients that are not finite count
    as zero. All work is done here; `backward` only scales the gradients found, so that the loss can be added to
    others, and be scaled, accumulated and synchronised by whatever calls `backward`.

    Args:
        model: whose decoders render.
        planes: of `LIRMModel.decode_planes`, with or without a graph behind them.
        origins, directions: see `LIRMModel.render`.
        image_loss: from the maps of all rays to a scalar. It is called once.
        chunk: rays at a time, over all objects.
        samples, sharpness, occupancy, numerical_normals, skipped_weight: see `LIRMModel.render`.

    Returns:
        The loss, and the maps without gradients.
    """
    settings = model._settings(samples, sharpness, occupancy, numerical_normals, skipped_weight)
    with model._in_float32(origins):
        tables = model.decoders.project(planes)
        # first layers act through the tables; the others act on every sample
        weights = [weight for name, weight in model.decoders.named_parameters() if not name.endswith("first.weight")]
        job = _Job(model, tables, origins, directions, settings, chunk, image_loss)
        return _Deferred.apply(job, *tables.tables.values(), *weights), job.render


class _Job:
    """What is rendered, and what comes of it."""

    def __init__(
        self,
        model: LIRMModel,
        tables: LIRMTables,
        origins: Tensor,
        directions: Tensor,
        settings: RaySettings,
        chunk: int,
        image_loss: Callable[[LIRMRender], Tensor],
    ):
        self.decoders, self.settings, self.image_loss = model.decoders, settings, image_loss
        self.tables = tables.apart()
        self.chunks = list(ray_chunks(origins, directions, chunk))
        self.batch = len(origins)
        self.render: LIRMRender | None = None

    def image_gradients(self) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """The loss, and its gradients by the maps of each chunk."""
        with torch.no_grad():
            parts = [render_rays(self.decoders, self.tables, *rays, self.settings) for rays in self.chunks]
        self.render = in_batches(parts, self.batch)
        with torch.enable_grad():
            maps = {name: value.clone().requires_grad_() for name, value in self.render.maps().items()}
            loss = self.image_loss(LIRMRender(**maps))
            gradients = torch.autograd.grad(loss, list(maps.values()), allow_unused=True)
        found = {name: value for name, value in zip(maps, gradients, strict=True) if value is not None}
        sizes = [len(rays[0]) for rays in self.chunks]
        return loss.detach(), {name: _finite(value).flatten(0, 1).split(sizes) for name, value in found.items()}

    def gradients(self, of_maps: dict[str, tuple[Tensor, ...]], weights: list[Tensor]) -> list[Tensor]:
        """Gradients by the tables and by weights, chunk by chunk."""
        tables = list(self.tables.tables.values())
        sums = [torch.zeros_like(weight) for weight in weights]
        for index, rays in enumerate(self.chunks):
            with torch.enable_grad():
                maps = render_rays(self.decoders, self.tables, *rays, self.settings).maps()
            pairs = [(maps[name], parts[index]) for name, parts in of_maps.items() if maps[name].requires_grad]
            if pairs:
                outputs, given = zip(*pairs, strict=True)
                found = torch.autograd.grad(outputs, [*tables, *weights], given, allow_unused=True)
                for total, value in zip(sums, found[len(tables) :], strict=True):  # tables add up their own
                    if value is not None:
                        total.add_(value)
        return [_finite(total) for total in (*self.tables.gradient_sums.values(), *sums)]


class _Deferred(torch.autograd.Function):
    """Does a job's work ahead; the gradients wait for the backward pass."""

    @staticmethod
    def forward(ctx, job: _Job, *tensors: Tensor) -> Tensor:
        loss, of_maps = job.image_gradients()
        if any(ctx.needs_input_grad):
            ctx.gradients = job.gradients(of_maps, list(tensors[len(job.tables.tables) :]))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(value * gradient for value in ctx.gradients)


def _finite(gradient: Tensor) -> Tensor:
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
