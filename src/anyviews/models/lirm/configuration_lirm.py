"""Configuration of LIRM (arXiv 2504.20026), and its sizes."""

from typing import no_type_check

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..configuration import check_choices, check_multiple, check_positive, of_size


# "base" is the paper's model; "small" trains on one GPU; "tiny" is for a CPU.
LIRM_SIZES: dict[str, dict] = {
    "tiny": {
        "image_size": 64,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "fuse_hidden_size": 128,
        "plane_token_size": 8,
        "nde_token_size": 4,
        "sweep_size": 4,
        "sdf_inv_std": 300.0,
        "density_inset": 2.5,
        "num_samples": 256,
        "use_photos": True,
        "appearance_gain": 1.0,
    },
    "small": {
        "image_size": 256,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "fuse_hidden_size": 768,
        "plane_token_size": 32,
        "nde_token_size": 16,
    },
    "base": {},
}

CHOICES = {
    "plane_type": ("hexa", "tri"),
    "nde_type": ("none", "sh", "panorama"),
    "prediction_type": ("rgb", "brdf", "both"),
    "fuse_activation": ("gelu", "relu", "silu"),
}

POSITIVE = (
    "image_size patch_size hidden_size num_hidden_layers num_attention_heads mlp_ratio plane_token_size "
    "plane_upsample plane_dim appearance_gain nde_token_size nde_upsample nde_dim nde_panoramas mlp_dim "
    "bbox_radius bbox_margin sdf_inv_std fuse_hidden_size num_samples"
).split()


@no_type_check  # strict checks the fields; jaxtyping would refuse the further keywords that every configuration takes
@strict
class LIRMConfig(PreTrainedConfig):
    """Configuration of `LIRMModel`; the defaults are the paper's model (LIRM-NDE), as far as it is known.

    Args:
        image_size: side of the square photos the model was trained at, in pixels; others are accepted.
        patch_size: pixels per side of a token.
        hidden_size, num_hidden_layers, num_attention_heads, mlp_ratio: of the transformer.
        layer_norm_eps, patch_norm_eps: of the transformer and of the layer norm behind the patch embedding.
        weight_norm: direction and length of the weights of feed-forward and unpatchify layers are learned apart.
        use_background: also read the photos before masking, which show the light; that branch starts at zero.
        plane_type: "hexa" (two planes per axis, chosen by the side of it) or "tri" (one; plane_token_size 64 then
            costs about what 48 does with six).
        plane_token_size: tokens per side of a plane.
        plane_upsample: texels per side of such a token.
        plane_dim: channels of a texel.
        sweep_size: points per side of a plane's token at which the photos are looked up, as evidence for it; 0 for
            none, as in the paper.
        use_photos: keep the photos of an object: signed distances start from the visual hull, and a point may take its
            radiance from the photos that face it, instead of decoding it. Not in the paper.
        nde_type: view dependence of the radiance: "none" (LIRM-diff), "sh" (spherical harmonics of degree 2) or
            "panorama" (LIRM-NDE: feature panoramas looked up in the mirror direction).
        nde_token_size, nde_upsample, nde_dim: of the square that holds all panoramas.
        nde_panoramas: how many, laid out in a square: 1, 4, 9 ...
        nde_wrap: panoramas close around the vertical axis; without it there is a seam at azimuth pi.
        mlp_dim: width of the decoders.
        sdf_depth, rgb_depth, brdf_depth, normal_depth, rho_depth: their hidden layers.
        appearance_gain: of the initial weights of all decoders but that of the distance. The small one of the method
            leaves colours grey for long.
        bbox_radius: the object lies inside this radius, in units of the object frame.
        bbox_margin: half the side of the box of planes, over bbox_radius.
        sdf_bias_radius: radius of the ball that an untrained model shows, over half the side of the box.
        sdf_range: the learned part of the distance is bounded to so many diagonals of the box's half.
        sdf_inv_std: inverse deviation of the density around the surface (1 / beta of VolSDF) at inference.
        density_inset: the density is that of a surface so much further inside, in units of 1 / sharpness. Density
            reaches beyond the surface, so that rays that pass close by are stopped and outlines look fat; 2 to 3 undo
            that. 0 in the paper.
        num_samples: samples along the diagonal of the box at inference.
        prediction_type: "rgb" (radiance), "brdf" (base colour, roughness, metallic) or "both".
        fuse_hidden_size, fuse_activation: of the layer that joins the state and the learned tokens (Eq. 5).
        fuse_shared: planes and panoramas share that layer.
        fuse_residual: it adds to the learned tokens and starts by adding nothing, so that a model trained without it
            can be continued.
        state_after_norm: the state is what the last layer norm gives, not what enters it.
        bptt_steps: gradients pass through so many updates before the state is detached; 0 always detaches.

    Raises:
        ValueError: if a value is impossible.
    """

    model_type = "lirm"

    image_size: int = 512
    patch_size: int = 8
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    mlp_ratio: int = 4
    layer_norm_eps: float = 1e-5
    patch_norm_eps: float = 1e-6
    weight_norm: bool = True
    use_background: bool = True
    plane_type: str = "hexa"
    plane_token_size: int = 48
    plane_upsample: int = 8
    plane_dim: int = 32
    sweep_size: int = 0
    use_photos: bool = False
    nde_type: str = "panorama"
    nde_token_size: int = 32
    nde_upsample: int = 8
    nde_dim: int = 32
    nde_panoramas: int = 4
    nde_wrap: bool = True
    mlp_dim: int = 32
    sdf_depth: int = 2
    rgb_depth: int = 3
    brdf_depth: int = 3
    normal_depth: int = 3
    rho_depth: int = 2
    appearance_gain: float = 0.25
    bbox_radius: float = 0.5
    bbox_margin: float = 1.05
    sdf_bias_radius: float = 0.1
    sdf_range: float = 1.5
    sdf_inv_std: float = 200.0
    density_inset: float = 0.0
    num_samples: int = 512
    prediction_type: str = "both"
    fuse_hidden_size: int = 1024
    fuse_activation: str = "gelu"
    fuse_shared: bool = True
    fuse_residual: bool = False
    state_after_norm: bool = True
    bptt_steps: int = 0

    @classmethod
    def from_size(cls, size: str, **overrides) -> "LIRMConfig":
        """The configuration of size "tiny", "small" or "base", with any field overridden."""
        return cls(**of_size(LIRM_SIZES, size, overrides))

    @property
    def box_radius(self) -> float:
        """Half the side of the box that planes cover and rays are followed through."""
        return self.bbox_radius * self.bbox_margin

    @property
    def num_planes(self) -> int:
        """Planes of an object."""
        return 6 if self.plane_type == "hexa" else 3

    @property
    def plane_resolution(self) -> int:
        """Texels per side of a plane."""
        return self.plane_token_size * self.plane_upsample

    @property
    def sweep_resolution(self) -> int:
        """Points per side of the box at which the photos are looked up."""
        return self.plane_token_size * self.sweep_size

    @property
    def num_plane_tokens(self) -> int:
        """Tokens of all planes."""
        return self.num_planes * self.plane_token_size**2

    @property
    def num_panorama_tokens(self) -> int:
        """Tokens of all panoramas."""
        return self.nde_token_size**2 if self.nde_type == "panorama" else 0

    @property
    def panoramas_per_side(self) -> int:
        """Panoramas are laid out in a square of so many per side."""
        return round(self.nde_panoramas**0.5)

    @property
    def panorama_resolution(self) -> int:
        """Texels per side of one panorama."""
        return self.nde_token_size * self.nde_upsample // self.panoramas_per_side

    def __post_init__(self, **kwargs):
        check_choices(self, CHOICES)
        check_positive(self, POSITIVE)
        for name in ("sdf_depth", "rgb_depth", "brdf_depth", "normal_depth", "rho_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more: planes hold the first layer")
        check_multiple(self, "image_size", of="patch_size")
        check_multiple(self, "hidden_size", of="num_attention_heads")
        if self.plane_resolution < 2:
            raise ValueError("plane_token_size x plane_upsample must be 2 or more texels")
        side = self.panoramas_per_side
        if (
            side**2 != self.nde_panoramas
            or self.nde_token_size * self.nde_upsample % side
            or (self.panorama_resolution < 2)
        ):
            raise ValueError(
                f"nde_panoramas={self.nde_panoramas} must be 1, 4, 9 ... and divide a square of nde_token_size x "
                f"nde_upsample = {self.nde_token_size * self.nde_upsample} texels into squares of 2 or more"
            )
        if (
            self.sweep_size < 0
            or self.sweep_resolution % 2
            or (self.sweep_size and self.plane_upsample % self.sweep_size)
        ):
            raise ValueError(
                f"sweep_size={self.sweep_size} must be 0 or divide plane_upsample={self.plane_upsample}, and times "
                f"plane_token_size={self.plane_token_size} be even: half of the points lie on either side of an axis"
            )
        if self.use_photos and self.prediction_type == "brdf":
            raise ValueError(
                "use_photos=True copies radiance, which a model of prediction_type='brdf' does not predict"
            )
        if self.density_inset < 0:
            raise ValueError(f"density_inset={self.density_inset} must be 0 or more")
        if self.bptt_steps < 0:
            raise ValueError(f"bptt_steps={self.bptt_steps} must be 0 or more")
        super().__post_init__(**kwargs)
