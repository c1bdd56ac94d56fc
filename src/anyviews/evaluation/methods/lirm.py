"""LIRM: further views, materials, shape and relighting of objects, after each set of photos."""

import math
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from ...color import linear_from_srgb, srgb_from_linear
from ...models.lirm.processing_lirm import on_white, visible_bounds
from ...pipelines.output_lirm import LIRMAsset
from ...pipelines.pipeline_lirm import LIRMPipeline
from ...rendering.image_quality import psnr
from ...views import Views
from ..baselines import mean_color, nearest_view
from ..case import Case, CaseResult, Row
from ..depth_metrics import score_normals
from ..image_metrics import channel_scales
from ..protocols import Protocol
from ..stanford_orb import score_orb_images
from .scoring import check_sizes, image_scores


MODEL = LIRMPipeline

# Of the surface and textures that are lit; the images are small.
MESH = {"resolution": 96, "texture_size": 512, "max_faces": 4000}

NOTHING = math.nan


def image_size(model: LIRMPipeline) -> int:
    """Side of the images in pixels."""
    return model.image_processor.size


def evaluate(model: LIRMPipeline, case: Case, protocol: Protocol) -> CaseResult:
    """All tables that the protocol has; its `view_counts` say how many photos are known after each set."""
    context, targets = _cut_out(case.context), _cut_out(case.targets)
    bounds = (0, *protocol.view_counts)
    sets = [case.context[first:last] for first, last in pairwise(bounds)]
    benchmark = "orb_psnr_l" in protocol.table("quality").metrics
    rows, pictures, assets = [], {"truth": targets.images}, []
    if not benchmark:
        # the photos that the first set holds, as the model has them
        blind = {"nearest view": nearest_view, "mean colour": mean_color}
        known = context[: len(sets[0])]
        for name, answer in blind.items():
            images = answer(known, targets)
            rows.append(Row("quality", name, _missing(protocol) | image_scores(images, targets.images)))
        pictures["nearest view"] = nearest_view(known, targets)
    radius = _radius(case)
    for count, photos in enumerate(sets, 1):
        given = {"views_per_step": len(photos), "output_type": "planes"}
        assets.append(model.update(assets[-1], photos, **given) if assets else model(photos, **given))
        name = f"{count} set{'s'[: count > 1]}"
        found = assets[-1].render_views(case.targets.cameras)
        scores = _orb_scores(found.images, case.targets) if benchmark else _map_scores(found, targets, radius)
        rows.append(Row("quality", name, scores))
        pictures[name] = found.images
        if count == len(sets):
            pictures |= _material_pictures(found, targets)
    if protocol.has("photos"):
        rows += _photo_rows(assets, sets)
    if protocol.has("relight"):
        found, shown = _relit_rows(model.extract(assets[-1], **MESH), case, benchmark)
        rows, pictures = rows + found, pictures | shown
    return CaseResult(rows, pictures)


def _photo_rows(assets: list[LIRMAsset], sets: list[Views]) -> list[Row]:
    """How each set's own photos are rendered, before and after they were read."""
    rows = []
    for shown, photos in enumerate(sets, 1):
        truth = _cut_out(photos).images
        for count, asset in enumerate(assets, 1):
            scores = image_scores(asset.render_views(photos.cameras).images, truth)
            rows.append(Row("photos", f"photos of set {shown}, {count} set{'s'[: count > 1]} read", scores))
    return rows


def _relit_rows(asset: LIRMAsset, case: Case, benchmark: bool) -> tuple[list[Row], dict[str, Tensor]]:
    """Under the second light: the lit mesh, beside the radiance under the first light."""
    if case.relit is None or case.relit_environment is None:
        answers, truth = {"unrelit radiance": None, "relit mesh": None}, None
    else:
        truth = case.relit if benchmark else _cut_out(case.relit)
        lit = asset.relight(case.relit_environment, truth.cameras, method="prefiltered")
        answers = {
            "unrelit radiance": asset.render_views(truth.cameras).images,
            "relit mesh": srgb_from_linear(lit.radiance + 1 - lit.masks),
        }
    rows, pictures = [], {}
    for name, images in answers.items():
        if truth is None:
            orb = dict.fromkeys(("orb_psnr_h", "orb_psnr_l", "orb_ssim", "orb_lpips"), NOTHING)
            scores = orb if benchmark else {"psnr": NOTHING, "ssim": NOTHING, "scaled_psnr": NOTHING}
        elif benchmark:
            scores = _orb_scores(images, truth, scaled=True)
        else:
            scores = image_scores(images, truth.images) | {"scaled_psnr": scaled_psnr(images, truth)}
        rows.append(Row("relight", name, scores))
        if truth is not None:
            pictures[name] = images
    return rows, pictures if truth is None else {"truth under the second light": truth.images, **pictures}


def scaled_psnr(images: Tensor, truth: Views) -> float:
    """PSNR after one factor per channel and image in linear light, over the mask: light and base colour are known
    only up to such factors."""
    check_sizes(images, truth.images)
    found, wanted = linear_from_srgb(images.clamp(0, 1)), linear_from_srgb(truth.images)
    scaled = srgb_from_linear((found * channel_scales(found, wanted, truth.masks)).clamp(0, 1))
    return float(psnr(on_white(scaled, truth.masks), truth.images).mean())


def _map_scores(found: Views, targets: Views, radius: float) -> dict[str, float]:
    """Scores of rendered maps; NaN for what the data or the model does not have."""
    check_sizes(found.images, targets.images)
    inside, seen = targets.masks > 0.5, found.masks > 0.5
    scores = image_scores(found.images, targets.images)
    scores["mask_iou"] = float((inside & seen).sum() / (inside | seen).sum())
    scores |= dict.fromkeys(("depth", "normal_mean", "base_color_psnr", "roughness", "metallic"), NOTHING)
    if targets.depths is not None:
        both = inside & (found.depths > 0) & (targets.depths > 0)
        if both.any():
            scores["depth"] = float((found.depths - targets.depths).abs()[both].mean() / radius)
    if targets.normals is not None:
        scores["normal_mean"] = score_normals(found.normals, targets.normals, targets.masks)["normal_mean"].value
    if found.base_colors is not None and targets.base_colors is not None:
        wanted = targets.base_colors * targets.masks
        own = found.base_colors * found.masks
        scale = wanted.sum() / (own * targets.masks).sum().clamp(min=1e-6)
        shown = (own * scale + 1 - found.masks).clamp(0, 1)
        scores["base_color_psnr"] = float(psnr(shown, wanted + 1 - targets.masks).mean())
    whole = targets.masks > 0.99
    for name in ("roughness", "metallic"):
        values, wanted = getattr(found, name), getattr(targets, name)
        if values is not None and wanted is not None:
            scores[name] = float((values - wanted).abs()[whole].mean())
    return scores


def _missing(protocol: Protocol) -> dict[str, float]:
    return dict.fromkeys(protocol.table("quality").metrics, NOTHING)


def _orb_scores(images: Tensor, truth: Views, scaled: bool = False) -> dict[str, float]:
    """The benchmark's scores, LPIPS left out: its weights are not part of the package."""
    wanted = linear_from_srgb(truth.images) if truth.radiance is None else truth.radiance
    scores = score_orb_images(linear_from_srgb(images.clamp(0, 1)), wanted, truth.masks, scaled)
    return {"orb_lpips": NOTHING} | {name: score.value for name, score in scores.items()}


def _material_pictures(found: Views, targets: Views) -> dict[str, Tensor]:
    pictures = {}
    for name, words in (("base_colors", "base colour"), ("roughness", "roughness"), ("metallic", "metallic")):
        for views, whose in ((targets, "true "), (found, "")):
            values = getattr(views, name)
            if values is not None:
                pictures[f"{whose}{words}"] = on_white(values, views.masks).expand(-1, 3, -1, -1).clamp(0, 1)
    return pictures


def _cut_out(views: Views) -> Views:
    """Views on white."""
    if views.masks is None:
        raise ValueError("the case has no masks; LIRM is evaluated on objects that are cut out")
    return replace(views, images=on_white(views.images, views.masks))


def _radius(case: Case) -> float:
    """Of the sphere around all that is seen of the object, in world units; 1 without depth."""
    views = case.targets
    if views.depths is None or not (views.depths > 0).any():
        return 1.0
    return visible_bounds(views.depths, views.masks, views.cameras)[1]
