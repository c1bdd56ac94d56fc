"""Configuration of MV-DUSt3R and MV-DUSt3R+ (arXiv 2412.06974), and its sizes."""

from typing import no_type_check

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..configuration import check_choices, check_multiple, check_positive, of_size


# "base" is the paper's model; "small" trains on one GPU; "tiny" is for a CPU.
MVDUST3R_SIZES: dict[str, dict] = {
    "tiny": {
        "image_size": 64,
        "patch_size": 8,
        "encoder_hidden_size": 128,
        "encoder_num_layers": 4,
        "encoder_num_heads": 4,
        "decoder_hidden_size": 128,
        "decoder_num_layers": 4,
        "decoder_num_heads": 4,
        "skip_hidden_size": 16,
        "gaussian_hidden_size": 128,
    },
    "small": {
        "encoder_hidden_size": 384,
        "encoder_num_layers": 12,
        "encoder_num_heads": 6,
        "decoder_hidden_size": 384,
        "decoder_num_layers": 8,
        "decoder_num_heads": 6,
        "skip_hidden_size": 64,
        "gaussian_hidden_size": 384,
    },
    "base": {},
}

POSITIVE = (
    "image_size patch_size encoder_hidden_size encoder_num_layers encoder_num_heads decoder_hidden_size "
    "decoder_num_layers decoder_num_heads mlp_ratio skip_hidden_size gaussian_hidden_size"
).split()


@no_type_check  # strict checks the fields; jaxtyping would refuse the further keywords that every configuration takes
@strict
class MVDust3rPlusConfig(PreTrainedConfig):
    """Configuration of `MVDust3rPlusModel`; the defaults are MV-DUSt3R+ of the paper.

    Args:
        image_size: side of the square images the model was trained at, in pixels.
        patch_size: pixels per side of a token.
        encoder_hidden_size, encoder_num_layers, encoder_num_heads: the encoder, which sees each view alone.
        decoder_hidden_size, decoder_num_layers, decoder_num_heads: the decoder, which sees all views.
        mlp_ratio: hidden width of the feed-forward layers over their width.
        layer_norm_eps: of the encoder and the decoder.
        rope_base: base of the two-dimensional rotary position embedding.
        num_references: views that serve as a reference, each in a path of its own. With 1 the model is MV-DUSt3R;
            with more it is MV-DUSt3R+, whose paths are fused after every decoder layer.
        use_skip: refine raw points by convolutions over the image at full resolution.
        skip_hidden_size: channels of these convolutions.
        skip_scale: factor of their output.
        use_gaussians: predict the parameters of one Gaussian per pixel.
        gaussian_hidden_size: hidden width of the Gaussian heads.
        gaussian_layer_norm_eps: of the Gaussian heads.
        gaussian_scale: factor of the predicted scales.
        gaussian_colors: "pixels" (a Gaussian has its pixel's colour) or "head" (spherical harmonics are predicted).
        harmonics_degree: degree of these harmonics.
        confidence_min, confidence_max: range of the confidence.

    Raises:
        ValueError: if a value is impossible.
    """

    model_type = "mvdust3r"

    image_size: int = 224
    patch_size: int = 16
    encoder_hidden_size: int = 1024
    encoder_num_layers: int = 24
    encoder_num_heads: int = 16
    decoder_hidden_size: int = 768
    decoder_num_layers: int = 12
    decoder_num_heads: int = 12
    mlp_ratio: int = 4
    layer_norm_eps: float = 1e-6
    rope_base: float = 100.0
    num_references: int = 4
    use_skip: bool = True
    skip_hidden_size: int = 256
    skip_scale: float = 1e-4
    use_gaussians: bool = True
    gaussian_hidden_size: int = 768
    gaussian_layer_norm_eps: float = 1e-5
    gaussian_scale: float = 0.1
    gaussian_colors: str = "pixels"
    harmonics_degree: int = 0
    confidence_min: float = 1.0
    confidence_max: float = 1e9

    @classmethod
    def from_size(cls, size: str, **overrides) -> "MVDust3rPlusConfig":
        """The configuration of size "tiny", "small" or "base", with any field overridden."""
        return cls(**of_size(MVDUST3R_SIZES, size, overrides))

    @property
    def has_fusion(self) -> bool:
        """Whether the paths of several references are fused (MV-DUSt3R+)."""
        return self.num_references > 1

    def __post_init__(self, **kwargs):
        if self.num_references < 1:
            raise ValueError(f"num_references={self.num_references} must be 1 (MV-DUSt3R) or more (MV-DUSt3R+)")
        check_positive(self, POSITIVE)
        check_multiple(self, "image_size", of="patch_size")
        for part in ("encoder", "decoder"):
            width, heads = getattr(self, f"{part}_hidden_size"), getattr(self, f"{part}_num_heads")
            if width % (4 * heads):
                raise ValueError(
                    f"{part}_hidden_size={width} is not a multiple of 4 x {part}_num_heads={heads}: rotary positions "
                    "turn pairs of channels for rows and for columns"
                )
        check_choices(self, {"gaussian_colors": ("pixels", "head"), "harmonics_degree": (0, 1, 2, 3)})
        if not 0 <= self.confidence_min < self.confidence_max:
            raise ValueError(
                f"need 0 <= confidence_min < confidence_max, found {self.confidence_min} and {self.confidence_max}"
            )
        super().__post_init__(**kwargs)
