"""The image encoder: shapes, arguments, checkpoints."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from anyviews.models.mvgd import MVGDImageEncoder


def test_features_are_at_a_quarter_of_the_resolution():
    encoder = MVGDImageEncoder("conv_stem", channels=8)
    assert encoder(torch.rand(3, 3, 16, 24)).shape == (3, 8, 4, 6)


@torch.no_grad()
def test_views_are_encoded_apart():
    encoder, images = MVGDImageEncoder("conv_stem", channels=8), torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]))


@torch.no_grad()
def test_efficientvit_features():
    encoder = MVGDImageEncoder().eval()
    images = torch.rand(2, 3, 32, 64)
    features = encoder(images)
    assert features.shape == (2, 448, 8, 16)
    assert features.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "resnet"}, "encoder_type='resnet' is not one of efficientvit_l2, conv_stem"),
        ({"channels": 64}, "efficientvit_l2 has 448 feature channels, found channels=64"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        MVGDImageEncoder(**options)


@torch.no_grad()
def test_saved_and_loaded_encoders_agree(tmp_path):
    encoder, images = MVGDImageEncoder("conv_stem", channels=8), torch.rand(1, 3, 8, 8)
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(MVGDImageEncoder.from_pretrained(tmp_path)(images), encoder(images))

    weights_file = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(weights_file)
    weights["backbone.other"] = weights.pop("backbone.conv_in.bias")
    save_file(weights, weights_file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of MVGDImageEncoder: backbone\.conv_in\.bias"):
        MVGDImageEncoder.from_pretrained(tmp_path)
