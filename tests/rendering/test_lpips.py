"""LPIPS against a network built as torchvision lays it out, with random weights; it never runs without weights."""

import pytest
import torch
from script_modules import load_script
from torch import nn

from anyviews.rendering.lpips import LPIPS


CHANNELS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}


def published_network(net: str) -> tuple[nn.Sequential, list[int]]:
    """The feature layers in the order that numbers them in the published files, and those that are compared."""
    if net == "alex":
        shapes = [(3, 64, 11, 4, 2), None, (64, 192, 5, 1, 2), None]
        shapes += [(192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]
        pool, compared = nn.MaxPool2d(3, 2), [1, 4, 7, 9, 11]
    else:
        widths = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512]
        shapes, last = [], 3
        for width in widths:
            shapes.append((last, width, 3, 1, 1) if width else None)
            last = width or last
        pool, compared = nn.MaxPool2d(2, 2), [3, 8, 15, 22, 29]
    layers = []
    for shape in shapes:
        layers += [pool] if shape is None else [nn.Conv2d(*shape), nn.ReLU()]
    return nn.Sequential(*layers), compared


def published_heads(net: str) -> dict[str, torch.Tensor]:
    return {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(CHANNELS[net])}


def slow_distance(network, compared, heads, image, reference) -> float:
    """Pixel by pixel of the features, in double precision."""
    mean = torch.tensor([-0.030, -0.088, -0.188]).double()[:, None, None]
    deviation = torch.tensor([0.458, 0.448, 0.450]).double()[:, None, None]
    found, wanted = (((picture.double() * 2 - 1) - mean) / deviation for picture in (image, reference))
    network, total = network.double(), 0.0
    for index, layer in enumerate(network):
        found, wanted = layer(found[None])[0], layer(wanted[None])[0]
        if index in compared:
            head = heads[f"lin{compared.index(index)}.model.1.weight"].flatten().double()
            pixels = [
                float((head * (a / a.norm() - b / b.norm()) ** 2).sum())
                for a, b in zip(found.flatten(1).T, wanted.flatten(1).T, strict=True)
            ]
            total += sum(pixels) / len(pixels)
    return total


@pytest.fixture(scope="module")
def converter(repository):
    return load_script(repository / "utils" / "convert_lpips.py")


@pytest.fixture(scope="module")
def alex(converter) -> LPIPS:
    torch.manual_seed(5)
    network, _ = published_network("alex")
    published = {**{f"features.{k}": v for k, v in network.state_dict().items()}, **published_heads("alex")}
    return LPIPS("alex").load_weights(converter.convert_state_dict(published))


@pytest.mark.parametrize(("net", "size"), [("vgg", 35), ("alex", 67)])
@torch.no_grad()
def test_published_files_give_the_published_distance(net, size, converter, tmp_path):
    network, compared = published_network(net)
    heads = published_heads(net)
    published = {f"features.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({**published, "classifier.0.weight": torch.rand(2, 2)}, tmp_path / "backbone.pth")
    torch.save(heads, tmp_path / "heads.pth")
    converter.main([net, *(str(tmp_path / name) for name in ("folder", "backbone.pth", "heads.pth"))])
    model = LPIPS.from_pretrained(tmp_path / "folder")
    assert model.net == net and not any(weights.requires_grad for weights in model.parameters())
    images, references = torch.rand(2, 2, 3, size, size)
    expected = [slow_distance(network, compared, heads, a, b) for a, b in zip(images, references, strict=True)]
    assert model(images, references).tolist() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_one_file_of_the_whole_published_module(alex, converter):
    """The authors' module numbers its layers alike, cut into slices, and holds each head twice."""
    published, position = {}, 0
    for index, slice_name in ((0, "slice1"), (3, "slice2"), (6, "slice3"), (8, "slice4"), (10, "slice5")):
        for kind in ("weight", "bias"):
            published[f"net.{slice_name}.{index}.{kind}"] = alex.state_dict()[f"convolutions.{position}.{kind}"]
        for name in (f"lin{position}", f"lins.{position}"):
            published[f"{name}.model.1.weight"] = alex.heads[position][None, :, None, None]
        position += 1
    published["scaling_layer.shift"] = torch.zeros(1, 3, 1, 1)
    model = LPIPS("alex").load_weights(converter.convert_state_dict(published))
    images, references = torch.rand(2, 1, 3, 40, 40)
    assert torch.equal(model(images, references), alex(images, references))


@torch.no_grad()
def test_distance_is_zero_of_equal_images_symmetric_and_grows(alex):
    images, noise = torch.rand(2, 3, 48, 40) * 0.5 + 0.25, torch.randn(2, 3, 48, 40)
    assert torch.equal(alex(images, images), torch.zeros(2))
    distances = [alex(images, images + strength * noise) for strength in (0.01, 0.05, 0.2)]
    assert (distances[0] > 0).all() and (distances[1] > distances[0]).all() and (distances[2] > distances[1]).all()
    torch.testing.assert_close(alex(images + 0.1 * noise, images), alex(images, images + 0.1 * noise))


def test_slopes_are_finite_and_lead_downhill(alex):
    # black pixels: all features of a place can be 0, where a length has no slope
    images = torch.zeros(1, 3, 40, 40, requires_grad=True)
    references = torch.rand(1, 3, 40, 40)
    before = alex(images, references)
    (slope,) = torch.autograd.grad(before.sum(), images)
    assert slope.isfinite().all() and slope.abs().max() > 0
    assert alex(images - 1e-3 * slope / slope.abs().max(), references) < before


def test_nothing_is_measured_without_weights(tmp_path, alex, converter):
    images = torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"no weights: .*convert_lpips.py"):
        LPIPS("vgg")(images, images)
    with pytest.raises(ValueError, match=r"no weights ship.*convert_lpips.py"):
        LPIPS.from_pretrained()
    with pytest.raises(ValueError, match="no weights"):
        LPIPS("alex").save_pretrained(tmp_path / "empty")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors is not there.*convert_lpips.py"):
        LPIPS.from_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"found net 'squeeze'; accepted are vgg, alex"):
        LPIPS("squeeze")
    with pytest.raises(ValueError, match=r"net 'vgg': \d+ differ.*wanted .*found"):
        LPIPS("vgg").load_weights(alex.state_dict())
    with pytest.raises(ValueError, match="hold no heads"):
        converter.convert_state_dict({"features.0.weight": torch.rand(3)})
    with pytest.raises(ValueError, match="30x64; LPIPS with net 'alex' needs 31 pixels"):
        alex(images[..., :30, :], images[..., :30, :])
    assert alex(images[..., :31, :31], images[..., :31, :31]).item() == 0
