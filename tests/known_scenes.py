"""A network that knows the scene: it answers with the points that photos of an apartment really show."""

from dataclasses import replace

import torch
from geometry.pointmaps import apartment, points_of
from torch import Tensor

from anyviews.geometry.similarity import Similarity
from anyviews.models.mvdust3r import (
    MVDust3rPlusConfig,
    MVDust3rPlusImageProcessor,
    MVDust3rPlusModel,
    MVDust3rPlusOutput,
)
from anyviews.pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline
from anyviews.views import Views


SIDE = 48
CONFIG = {
    "image_size": SIDE,
    "patch_size": 8,
    "encoder_hidden_size": 16,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_layers": 1,
    "decoder_num_heads": 2,
    "skip_hidden_size": 4,
    "gaussian_hidden_size": 8,
}


class KnownScene(MVDust3rPlusModel):
    """Finds each image among those of a scene; its points are in the frame of the first reference, in another unit
    at every call."""

    def know(self, views: Views, noise: float = 0.0) -> "KnownScene":
        self.views, self.points = replace(views, depths=views.depths.clone()), points_of(views).nan_to_num(50.0)
        generator = torch.Generator().manual_seed(0)
        self.points += (
            noise * self.points.norm(dim=-1, keepdim=True) * torch.randn(self.points.shape, generator=generator)
        )
        self.calls: list[list[int]] = []
        return self

    def forward(self, pixel_values: Tensor, references, all_paths, head_views) -> MVDust3rPlusOutput:
        images = (pixel_values[0] + 1) / 2
        known = torch.cdist(images.flatten(1), self.views.images.flatten(1)).argmin(1).tolist()
        self.calls.append(known)
        camera = self.views.cameras[known[references[0]]]
        to_camera, unit = camera.world_to_camera, torch.tensor(1.0 + len(self.calls))
        frame = Similarity(unit, to_camera[:3, :3], unit * to_camera[:3, 3])
        points = frame.apply(self.points[known].flatten(0, 2)).view(1, 1, *self.points[known].shape)
        confidence = torch.where((self.views.depths[known, 0] > 0), 10.0, 1.0)[None, None]
        scales = torch.full_like(points, 0.01)
        rotations = torch.zeros(*points.shape[:-1], 4)
        rotations[..., 0] = 1
        return MVDust3rPlusOutput(
            points, confidence, torch.ones_like(confidence), scales, rotations, None, tuple(references)
        )


def known_pipeline(views: Views, noise: float = 0.0) -> MVDust3rPlusPipeline:
    """A pipeline whose network knows these views, of SIDE pixels."""
    model = KnownScene(MVDust3rPlusConfig(**CONFIG)).eval().know(views, noise)
    pipe = MVDust3rPlusPipeline(model, MVDust3rPlusImageProcessor(SIDE))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def small_pipeline(**overrides) -> MVDust3rPlusPipeline:
    """A pipeline of the smallest network with random weights."""
    torch.manual_seed(0)
    model = MVDust3rPlusModel(MVDust3rPlusConfig(**{**CONFIG, **overrides})).eval()
    pipe = MVDust3rPlusPipeline(model, MVDust3rPlusImageProcessor(SIDE))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def room(count: int = 6, seed: int = 1) -> Views:
    """Photos of an apartment in the frame of the first."""
    return apartment(seed, count, SIDE)
