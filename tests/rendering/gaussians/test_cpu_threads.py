"""The CPU renderer on any number of threads, in forked and spawned processes, and for several callers at once."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from gaussian_scenes import orbit_cameras, random_gaussians
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.rendering.gaussians.cpu import rasterize, workers
from anyviews.rendering.gaussians.settings import RasterSettings


TIMEOUT = 60


@pytest.fixture(autouse=True)
def threads():
    """Restore the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


Scene = tuple[Gaussians, Cameras, Tensor]


def scene(seed: int) -> Scene:
    """More than one chunk of Gaussians, enough tiles for every thread, and derivatives of a loss by all pixels."""
    gaussians, cameras = random_gaussians(seed, 5000, 1, scale=0.02), orbit_cameras(2, 70, 90)
    return gaussians, cameras, torch.randn(2, 5, 70, 90, generator=torch.Generator().manual_seed(seed))


def render(scene: Scene) -> list[np.ndarray]:
    """An image and its gradients.

    Without arithmetic of torch's own: in a forked process, its threads wait for those that did not come along.
    """
    gaussians, cameras, slopes = scene
    leaves = [getattr(gaussians, name).detach().requires_grad_() for name in FIELDS]
    leaves += [values.detach().requires_grad_() for values in (cameras.intrinsics, cameras.camera_to_world)]
    moving, seen = Gaussians(*leaves[:5]), Cameras(*leaves[5:], cameras.image_sizes)
    out = rasterize(moving, seen, None, RasterSettings())
    return [values.detach().numpy() for values in (out, *torch.autograd.grad(out, leaves, slopes))]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def threads_of_the_pool() -> int:
    return sum(thread.name.startswith("anyviews-gaussians") for thread in threading.enumerate())


class Renders(Dataset):
    """Renders on three threads, also where a worker process has set one."""

    def __init__(self):
        self.scenes = [scene(seed) for seed in range(4)]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> list[np.ndarray]:
        torch.set_num_threads(3)
        return render(self.scenes[index])


def test_every_number_of_threads_gives_the_same_bits():
    torch.set_num_threads(1)
    given = scene(0)
    expected = render(given)
    for count in (2, 3, 7):
        torch.set_num_threads(count)
        assert same(render(given), expected)


def test_one_thread_starts_no_other(monkeypatch):
    monkeypatch.setattr(workers, "_pool", None)
    torch.set_num_threads(1)
    before = threads_of_the_pool()
    render(scene(0))
    assert workers._pool is None and threads_of_the_pool() == before
    torch.set_num_threads(3)
    render(scene(0))
    assert workers._pool is not None and threads_of_the_pool() > before


def test_several_callers_at_once():
    scenes = [scene(seed) for seed in range(4)]
    expected = [render(given) for given in scenes]
    with ThreadPoolExecutor(4) as callers:
        for found in (list(callers.map(render, scenes)) for _ in range(3)):
            assert all(same(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    dataset = Renders()
    expected = [render(given) for given in dataset.scenes]
    assert threads_of_the_pool() > 0
    count = 2 if method == "fork" else 1  # a spawned process takes seconds to start
    loader = DataLoader(
        dataset, batch_size=None, collate_fn=list, num_workers=count, multiprocessing_context=method, timeout=TIMEOUT
    )
    for found, wanted in zip(loader, expected, strict=True):
        assert same(found, wanted)
    assert same(render(dataset.scenes[0]), expected[0])


def _render_or_fail(given: Scene, expected: list[np.ndarray]) -> None:
    if not same(render(given), expected) or threads_of_the_pool() == 0:
        raise SystemExit(3)


def test_fork_while_another_thread_renders():
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    given, done = scene(0), threading.Event()
    expected = render(given)

    def work() -> None:
        while not done.is_set():
            render(given)

    rendering = threading.Thread(target=work)
    rendering.start()
    try:
        for _ in range(5):
            child = multiprocessing.get_context("fork").Process(target=_render_or_fail, args=(given, expected))
            child.start()
            child.join(TIMEOUT)
            child.kill()
            assert child.exitcode == 0
    finally:
        done.set()
        rendering.join()


def test_an_error_on_a_thread_reaches_the_caller():
    def fail(first: int, last: int) -> None:
        if first == 5:
            raise FloatingPointError("part five")

    for count in (1, 3):
        torch.set_num_threads(count)
        with pytest.raises(FloatingPointError, match="part five"):
            workers.run(fail, workers.equal_ranges(9, 1))


def test_balanced_ranges_cover_everything_once_in_order():
    for costs, parts in (([0, 0, 0], 4), ([5], 3), ([1, 1, 90, 1, 1, 1], 3), (list(range(100)), 8)):
        ranges = workers.balanced_ranges(torch.tensor(costs).numpy(), parts)
        assert [index for first, last in ranges for index in range(first, last)] == list(range(len(costs)))
        assert len(ranges) <= parts and all(first < last for first, last in ranges)
    costs = torch.rand(1000, generator=torch.Generator().manual_seed(0)).numpy()
    shares = [costs[first:last].sum() for first, last in workers.balanced_ranges(costs, 10)]
    assert max(shares) < 1.1 * costs.sum() / 10


def test_renders_without_gradients_keep_nothing():
    gaussians, cameras = random_gaussians(0, 50), orbit_cameras(1)
    gaussians.means.requires_grad_()
    with torch.no_grad():
        assert rasterize(gaussians, cameras, None, RasterSettings()).grad_fn is None
    assert rasterize(gaussians, cameras, None, RasterSettings()).grad_fn is not None
