"""MVBoost: an object from one image, boosted or not, and how the strength of the refinement changes its views."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...cameras import Cameras
from ...foreground import Foreground
from ...gaussians import Gaussians
from ...models.era3d import VIEW_AZIMUTHS
from ...models.lgm import INPUT_AZIMUTHS, LGMModel, lgm_frame, prepare_images
from ...pipelines.output_era3d import Era3DPipelineOutput
from ...pipelines.pipeline_mvboost import MVBoostPipeline
from ...rendering.gaussians import render_on_white
from ...views import Views
from ..baselines import mean_color, nearest_view
from ..case import Case, CaseResult, Row
from ..protocols import Protocol
from .scoring import image_scores


MODEL = MVBoostPipeline

# Where a checkpoint keeps its boosting adapter.
ADAPTER = "lora"
UNBOOSTED, BOOSTED = "unboosted", "boosted"
STRENGTHS = (0.5, 0.9, 0.95, 1.0)
# Level views at 0, 45, ... degrees, of which some are generated and some are given to LGM.
LEVEL_STEP = 45


def image_size(model: MVBoostPipeline) -> int:
    """Side of the images in pixels."""
    return model.multiview.image_size


def evaluate(model: MVBoostPipeline, case: Case, protocol: Protocol) -> CaseResult:
    """All tables that the protocol has; the first view given is the image."""
    require_adapter(model)
    front = case.context[:1]
    if front.masks is None:
        raise ValueError("the view given has no mask; needed is one, which is white on the object")
    targets = case.targets[: protocol.target_views]
    judge = Judge(model, front, targets)
    first = generate(model, front, case.seed)
    rows, pictures = _quality(judge, first, front, targets)
    if protocol.has("true views"):
        rows += _true_views(judge, case.context)
    if protocol.has("strength"):
        rows += _strengths(judge, first, case)
    return CaseResult(rows, pictures)


class Judge:
    """Renders Gaussians from where the targets are, and scores them."""

    def __init__(self, model: MVBoostPipeline, front: Views, targets: Views):
        self.model, self.targets = model, targets
        self.frame = lgm_frame(front.cameras, model.reconstructor.config)

    def images(self, gaussians: Gaussians) -> Tensor:
        """[V, 3, H, W] from the targets' cameras, of one object."""
        cameras = self.frame.apply_cameras(self.targets.cameras).to(gaussians.device, gaussians.dtype)
        return render_on_white(gaussians, cameras).images.clamp(0, 1).cpu().float()

    def row(self, table: str, variant: str, gaussians: Gaussians) -> Row:
        """Scores of Gaussians [1]."""
        return Row(table, variant, image_scores(self.images(gaussians[0]), on_white(self.targets)))


def require_adapter(model: MVBoostPipeline) -> None:
    """Load the adapter of a checkpoint beside its weights, once.

    Raises:
        ValueError: if there is none.
    """
    if model.reconstructor.lora_adapters:
        return
    folder = Path(str(model.config._name_or_path)) / ADAPTER
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder: the checkpoint has no boosting adapter to compare; put one there "
            "(train_mvboost.py --stage boost writes it)"
        )
    model.load_lora_weights(folder)


def generate(model: MVBoostPipeline, front: Views, seed: int) -> Era3DPipelineOutput:
    """Views of the object of one view with a mask."""
    generator, multiview = torch.Generator(model.device).manual_seed(seed), model.multiview
    # not as a photo, for which a thumbnail's object is refused as too small
    shown = Foreground(front.images[0], front.masks[0])
    picture = shown.centered(multiview.image_size, multiview.config.foreground_share)
    return model.generate_views(picture, prepared=True, generator=generator)


def reconstruct(model: MVBoostPipeline, images: Tensor, boosted: bool) -> Gaussians:
    """The Gaussians [1] of generated views, with the adapter or without it."""
    with _adapter(model.reconstructor, boosted):
        return model.reconstruct(images)


@contextmanager
def _adapter(lgm: LGMModel, used: bool) -> Iterator[None]:
    """The adapter switched on or off for a while."""
    if not used:
        lgm.disable_adapters()
    try:
        yield
    finally:
        lgm.enable_adapters()


def _quality(
    judge: Judge, first: Era3DPipelineOutput, front: Views, targets: Views
) -> tuple[list[Row], dict[str, Tensor]]:
    """Baselines, and the reconstruction with and without the adapter."""
    truth = on_white(targets)
    shown = Views(on_white(front), front.cameras)
    blind = {"input image": nearest_view(shown, targets), "mean colour": mean_color(shown, targets)}
    rows = [Row("quality", name, image_scores(images, truth)) for name, images in blind.items()]
    pictures = {"truth": truth, "input image": shown.images, "generated views": first.images.cpu().float()}
    for name in (UNBOOSTED, BOOSTED):
        gaussians = reconstruct(judge.model, first.images, name == BOOSTED)
        rows.append(judge.row("quality", name, gaussians))
        pictures[name] = judge.images(gaussians[0])
    return rows, pictures


def _true_views(judge: Judge, level: Views) -> list[Row]:
    """LGM alone, from true views at its four azimuths."""
    chosen = level[[int(azimuth) // LEVEL_STEP for azimuth in INPUT_AZIMUTHS]]
    config = judge.model.reconstructor.config
    cameras = _own_cameras(judge.model, config.input_size)
    inputs = prepare_images(on_white(chosen), cameras, config.input_size)[None].to(judge.model.device)
    rows = []
    for name in (UNBOOSTED, BOOSTED):
        with _adapter(judge.model.reconstructor, name == BOOSTED):
            rows.append(judge.row("true views", name, judge.model.reconstructor(inputs).gaussians))
    return rows


def _strengths(judge: Judge, first: Era3DPipelineOutput, case: Case) -> list[Row]:
    """Views after refinements of several strengths, against the true ones, and what LGM makes of them.

    The renders that are refined are of the plain LGM, as in the making of data.
    """
    model = judge.model
    truth = on_white(case.context[[int(azimuth) // LEVEL_STEP for azimuth in VIEW_AZIMUTHS.values()]])
    before = reconstruct(model, first.images, boosted=False)
    renders = model.render_views(before)
    found = {"no refinement": first.images, "renders": renders}
    for strength in STRENGTHS:
        generator = torch.Generator(model.device).manual_seed(case.seed + 1)
        found[f"{strength:g}"] = model.refine_views(first, renders, strength, generator=generator).images
    rows = []
    for name, images in found.items():
        rows.append(Row("strength", name, image_scores(_resized(images, truth), truth)))
        rows.append(judge.row("refined", name, reconstruct(model, images, boosted=False)))
    return rows


def _own_cameras(model: MVBoostPipeline, size: int) -> Cameras:
    """Cameras of LGM's four inputs."""
    azimuths = list(model.config.view_azimuths)
    return model.view_cameras(size)[[azimuths.index(azimuth) for azimuth in INPUT_AZIMUTHS]]


def _resized(images: Tensor, like: Tensor) -> Tensor:
    images = images.cpu().float()
    if images.shape[-2:] == like.shape[-2:]:
        return images
    return F.interpolate(images, like.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)


def on_white(views: Views) -> Tensor:
    """Images [V, 3, H, W] with white around the object, where the views say where it is."""
    if views.masks is None:
        return views.images
    around = views.images[(views.masks == 0).expand_as(views.images)]
    if around.numel() == 0 or around.min() > 0.999:
        return views.images
    return views.images * views.masks + 1 - views.masks
