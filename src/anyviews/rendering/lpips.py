"""LPIPS: how different two images look to a network that was trained to tell what is in them.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018; version 0.1 of the
authors' weights. `utils/convert_lpips.py` writes the folder that `LPIPS.from_pretrained` reads.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from huggingface_hub import ModelHubMixin, hf_hub_download
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


WEIGHTS_NAME = "model.safetensors"

# Mean and standard deviation of the channels of images in [-1, 1].
MEAN = (-0.030, -0.088, -0.188)
DEVIATION = (0.458, 0.448, 0.450)

ADVICE = (
    "no weights ship with the package. Convert the authors' with `python utils/convert_lpips.py vgg lpips-vgg "
    "vgg16-397923af.pth vgg.pth` and load them with `LPIPS.from_pretrained('lpips-vgg')`, or use multi_scale_ssim "
    "and say so beside the number"
)


@dataclass(frozen=True)
class Layer:
    """One convolution and its rectifier.

    Args:
        channels: of its output.
        kernel, stride: of the convolution, in pixels; it is padded by `padding`.
        pool: side of the maximum, two pixels apart, that its input is reduced by; 0 for none.
        compared: whether its output is a feature that images are compared by.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0
    compared: bool = False


def _vgg_stage(channels: int, count: int) -> tuple[Layer, ...]:
    """Convolutions of one resolution; all but the first stage begin by halving it."""
    return tuple(
        Layer(channels, pool=2 if i == 0 and channels > 64 else 0, compared=i == count - 1) for i in range(count)
    )


# Simonyan and Zisserman 2015, configuration D; Krizhevsky 2014, the one-column AlexNet.
NETS: dict[str, tuple[Layer, ...]] = {
    "vgg": (
        *_vgg_stage(64, 2),
        *_vgg_stage(128, 2),
        *_vgg_stage(256, 3),
        *_vgg_stage(512, 3),
        *_vgg_stage(512, 3),
    ),
    "alex": (
        Layer(64, kernel=11, stride=4, padding=2, compared=True),
        Layer(192, kernel=5, padding=2, pool=3, compared=True),
        Layer(384, pool=3, compared=True),
        Layer(256, compared=True),
        Layer(256, compared=True),
    ),
}
SMALLEST_SIDE = {"vgg": 16, "alex": 31}


class LPIPS(nn.Module, ModelHubMixin):
    """The distance of images in the features of a frozen network; it has slopes for the images, none for itself.

    A new one has no weights, and says so when it is called: nothing is ever measured by random features.

    Args:
        net: "vgg" (VGG16, usual in losses) or "alex" (AlexNet, usual in tables); their numbers cannot be compared.

    Raises:
        ValueError: if the net is another.
    """

    def __init__(self, net: str = "vgg"):
        super().__init__()
        if net not in NETS:
            raise ValueError(f"found net {net!r}; accepted are {', '.join(NETS)}")
        self.net = net
        layers = NETS[net]
        inputs = (3, *(layer.channels for layer in layers[:-1]))
        with torch.device("meta"):
            self.convolutions = nn.ModuleList(
                nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.padding)
                for channels, layer in zip(inputs, layers, strict=True)
            )
            self.heads = nn.ParameterList(torch.empty(layer.channels) for layer in layers if layer.compared)
        self.requires_grad_(False)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, **kwargs) -> "LPIPS":
        """Load converted weights.

        Args:
            pretrained_model_name_or_path: a folder, or a repository of the Hub; any other argument of
                `ModelHubMixin.from_pretrained` is passed on.

        Raises:
            ValueError: if nothing is named, or the weights are not those of the net.
            FileNotFoundError: if the folder has no weights.
        """
        if pretrained_model_name_or_path is None:
            raise ValueError(f"LPIPS: {ADVICE}")
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _from_pretrained(cls, *, model_id, revision, cache_dir, force_download, local_files_only, token, **options):
        path = Path(model_id) / WEIGHTS_NAME
        if not Path(model_id).is_dir():
            path = Path(
                hf_hub_download(
                    model_id,
                    WEIGHTS_NAME,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: {ADVICE}")
        model = cls(**options)
        model.load_weights(load_file(path), str(path))
        return model

    def _save_pretrained(self, save_directory: Path) -> None:
        self._check_weights()
        save_file(self.state_dict(), save_directory / WEIGHTS_NAME, metadata={"format": "pt"})

    def load_weights(self, state_dict: dict[str, Tensor], source: str = "the state dict") -> "LPIPS":
        """Take weights, all of them, as float32.

        Args:
            state_dict: under the names of this module.
            source: what to call it in a message.

        Raises:
            ValueError: if names or shapes differ from those of the net.
        """
        wanted = {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"{source} does not hold the weights of LPIPS with net {self.net!r}: {len(wrong)} differ, the first "
                f"{name}: wanted {wanted.get(name, 'nothing')}, found {given.get(name, 'nothing')}; {ADVICE}"
            )
        self.load_state_dict({name: tensor.float() for name, tensor in state_dict.items()}, assign=True)
        return self.requires_grad_(False)

    def _check_weights(self) -> None:
        if self.heads[0].is_meta:
            raise ValueError(f"this LPIPS has no weights: {ADVICE}")

    def forward(
        self, images: Float[Tensor, "views 3 height width"], references: Float[Tensor, "views 3 height width"]
    ) -> Float[Tensor, "views"]:
        """The distance of each image from its reference, 0 for equal ones.

        Args:
            images: [V, 3, H, W], sRGB in [0, 1] (not in [-1, 1]), at least 16 pixels a side for "vgg", 31 for "alex".
            references: [V, 3, H, W], sRGB in [0, 1].

        Raises:
            ValueError: if there are no weights, or the images are too small.
        """
        self._check_weights()
        if min(images.shape[-2:]) < SMALLEST_SIDE[self.net]:
            raise ValueError(
                f"images of {images.shape[-2]}x{images.shape[-1]}; LPIPS with net {self.net!r} needs "
                f"{SMALLEST_SIDE[self.net]} pixels or more a side; enlarge them and say so beside the number"
            )
        distance = images.new_zeros(len(images))
        both = zip(self._features(images), self._features(references), strict=True)
        for head, (found, wanted) in zip(self.heads, both, strict=True):
            weighted = (found - wanted).square() * head[:, None, None]
            distance = distance + weighted.sum(1).mean((1, 2))
        return distance

    def _features(self, images: Float[Tensor, "views 3 height width"]) -> list[Tensor]:
        """Outputs of the compared layers, [V, C, h, w], of length 1 along the channels."""
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        hidden, features = (2 * images - 1 - mean) / deviation, []
        for layer, convolution in zip(NETS[self.net], self.convolutions, strict=True):
            if layer.pool:
                hidden = F.max_pool2d(hidden, layer.pool, stride=2)
            hidden = F.relu(convolution(hidden))
            if layer.compared:
                features.append(hidden / (torch.linalg.vector_norm(hidden, dim=1, keepdim=True) + 1e-10))
        return features
