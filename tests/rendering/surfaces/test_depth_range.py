import torch

from anyviews.rendering.surfaces.depth_range import inverse_depth_range


def test_ranges_hold_those_of_every_window():
    generator = torch.Generator().manual_seed(0)
    inverse = torch.rand(13, 21, generator=generator)
    inverse[torch.rand(13, 21, generator=generator) < 0.6] = 0
    u = torch.rand(300, generator=generator) * 31 - 5
    v = torch.rand(300, generator=generator) * 23 - 5
    reach = torch.exp(torch.rand(300, generator=generator) * 7 - 2)
    nearest, farthest = inverse_depth_range(inverse, u, v, reach)
    exact = 0
    for index in range(300):
        left, right = (int((u[index] + sign * reach[index]).floor()) for sign in (-1, 1))
        top, bottom = (int((v[index] + sign * reach[index]).floor()) for sign in (-1, 1))
        window = inverse[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)]
        window = window[window > 0]
        if len(window):
            assert nearest[index] >= window.max() and farthest[index] <= window.min()
            exact += int(nearest[index] == window.max() and farthest[index] == window.min())
    assert exact > 100


def test_unknown_everywhere():
    nearest, farthest = inverse_depth_range(torch.zeros(4, 4), torch.ones(1), torch.ones(1), torch.ones(1))
    assert nearest.item() == -torch.inf and farthest.item() == torch.inf
