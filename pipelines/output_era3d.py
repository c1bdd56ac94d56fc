"""What Era3DPipeline returns, and what a later call can take over."""

from dataclasses import dataclass

import numpy as np
from diffusers.utils import BaseOutput
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from anyviews.models.era3d.attention_era3d import Prompts


@dataclass(frozen=True)
class Era3DCondition:
    """What the condition images of B objects give to every step; valid for any number of calls.

    Args:
        pictures: [B, 3, S, S], the objects centred on white, sRGB in [0, 1].
        latents: [B, channels, s, s], of the pictures.
        class_labels: [2 * B * views, width], image embeddings with the code of their noise level; rows are (domain,
            object, view).
        prompts: keys and values of the prompts, or their embeddings.
        normal_latents: [B * views, channels, s, s], what the call that made this condition ended with; or None.
    """

    pictures: Float[Tensor, "objects 3 size size"]
    latents: Float[Tensor, "objects channels height width"]
    class_labels: Float[Tensor, "rows dim"]
    prompts: Prompts
    normal_latents: Float[Tensor, "views channels height width"] | None = None


@dataclass
class Era3DPipelineOutput(BaseOutput):
    """Six views of each object, at azimuths 0, 45, 90, 180, 270, 315 degrees and elevation 0; orthographic.

    Args:
        normals: of B objects, one after the other: B * 6 PIL images, array [B * 6, H, W, 3] or tensor
            [B * 6, 3, H, W] in [0, 1]: 0.5 + 0.5 n with x right, y up and z towards the viewer of the front view.
            For output_type "latent" the latents.
        images: sRGB, alike.
        poses: [B, 2], elevation in radians and 24 / focal length in mm of the condition image; None for checkpoints
            without regressors.
        condition: for further calls, such as a refinement, which then compute only what is new.
    """

    normals: list[Image.Image] | np.ndarray | Tensor
    images: list[Image.Image] | np.ndarray | Tensor
    poses: Tensor | None
    condition: Era3DCondition
