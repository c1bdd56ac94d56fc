"""Rendering in two passes has the gradients of one, in the memory of a chunk."""

import pytest
import torch
from live_bytes import LiveBytes
from small_lirm import photos, random_planes, rays, small_model

from anyviews.models.lirm import deferred_loss


def image_loss(render):
    """Of all maps, and not a mean over rays."""
    return sum((value.mean(dim=1) * (index + 1)).square().sum() for index, value in enumerate(render.maps().values()))


@pytest.mark.parametrize("chunk", [1, 17, 1000])
def test_gradients_equal_those_of_one_pass(chunk):
    """Of all weights of the network, through decoders, planes and transformer."""
    model, given, (origins, directions) = small_model().train(), photos(), rays(count=30)
    options = {"samples": 24, "sharpness": 20.0, "numerical_normals": True}
    render = model.render(model(**given).planes, origins, directions, **options)
    expected = image_loss(render)
    expected.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()

    loss, maps = deferred_loss(model, model(**given).planes, origins, directions, image_loss, chunk=chunk, **options)
    (2 * loss).backward()  # as loss scaling would
    torch.testing.assert_close(loss, expected.detach())
    for name, value in render.maps().items():
        torch.testing.assert_close(getattr(maps, name), value.detach(), atol=1e-6, rtol=1e-5)
        assert not getattr(maps, name).requires_grad
    for name, weight in model.named_parameters():
        assert gradients[name] is not None, name
        scale = gradients[name].abs().max()
        torch.testing.assert_close(weight.grad / 2, gradients[name], atol=1e-4 * float(scale) + 1e-7, rtol=1e-3)


def test_a_loss_of_some_maps():
    model, planes, (origins, directions) = small_model(), random_planes(small_model()), rays()
    planes.planes.requires_grad_()
    loss, _ = deferred_loss(model, planes, origins, directions, lambda render: render.opacity.sum(), chunk=16)
    loss.backward()
    (expected,) = torch.autograd.grad(model.render(planes, origins, directions).opacity.sum(), planes.planes)
    torch.testing.assert_close(planes.planes.grad, expected, atol=1e-5, rtol=1e-3)


def test_gradients_that_are_not_finite_count_as_zero():
    model, planes, (origins, directions) = small_model(), random_planes(small_model()), rays()
    planes.planes.requires_grad_()

    def broken(render):
        return (render.opacity[:, :20] * float("nan")).sum() + render.opacity[:, 20:].sum()

    deferred_loss(model, planes, origins, directions, broken, chunk=16)[0].backward()
    assert planes.planes.grad.isfinite().all()
    (expected,) = torch.autograd.grad(model.render(planes, origins, directions).opacity[:, 20:].sum(), planes.planes)
    torch.testing.assert_close(planes.planes.grad, expected, atol=1e-5, rtol=1e-3)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_memory_is_that_of_a_chunk():
    """Eight times the rays need what the larger image needs, and no more; one pass needs eight times as much."""
    model = small_model()
    planes = random_planes(model, 1)
    planes.planes.requires_grad_()

    def peaks(count: int) -> tuple[int, int]:
        origins, directions = rays(1, count)
        found = []
        for deferred in (True, False):
            with LiveBytes() as live:
                if deferred:
                    deferred_loss(model, planes, origins, directions, image_loss, chunk=64)[0].backward()
                else:
                    image_loss(model.render(planes, origins, directions)).backward()
            planes.planes.grad = None
            model.zero_grad()
            found.append(live.peak)
        return tuple(found)

    (small, small_direct), (large, large_direct) = peaks(256), peaks(2048)
    image_bytes = (2048 - 256) * 12 * 4
    assert large - small < 8 * image_bytes
    assert large_direct > 6 * small_direct
    assert large < large_direct / 8


def test_without_gradients_only_the_loss():
    model, planes = small_model().requires_grad_(False), random_planes(small_model())
    loss, _ = deferred_loss(model, planes, *rays(), image_loss, chunk=16)
    assert not loss.requires_grad
