"""Random cameras, rotations and tensors for property tests."""

from contextlib import contextmanager

import jaxtyping
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from anyviews.cameras import Cameras, rigid
from anyviews.geometry.similarity import Similarity
from anyviews.views import Views


property_settings = settings(max_examples=25, deadline=None, derandomize=True, database=None)

seeds = st.integers(0, 2**31 - 1)
dtypes = st.sampled_from([torch.float32, torch.float64])
batch_shapes = st.sampled_from([(), (1,), (3,), (2, 3)])
sizes = st.integers(3, 40)


def tolerance(dtype: torch.dtype) -> float:
    return 1e-3 if dtype == torch.float32 else 1e-9


def assert_close(actual: Tensor, expected: Tensor, scale: float = 1.0):
    """Equal up to the rounding of a few matrix products of numbers of size `scale`."""
    bound = tolerance(actual.dtype) * scale
    torch.testing.assert_close(actual, expected, atol=bound, rtol=tolerance(actual.dtype))


def random_rotation(generator: torch.Generator, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniformly random rotations [*batch, 3, 3]."""
    q, r = torch.linalg.qr(torch.randn(*batch, 3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[..., None, :]
    return (q * torch.linalg.det(q)[..., None, None]).to(dtype)


def random_cameras(
    seed: int, *batch: int, height: int = 24, width: int = 32, dtype: torch.dtype = torch.float64
) -> Cameras:
    """Cameras with uniformly random rotations, near the origin, with off-centre principal points and some skew."""
    generator = torch.Generator().manual_seed(seed)
    intrinsics = torch.zeros(*batch, 3, 3, dtype=torch.float64)
    size = torch.tensor([width, height])
    intrinsics[..., [0, 1], [0, 1]] = width * (0.7 + torch.rand(*batch, 2, generator=generator, dtype=torch.float64))
    intrinsics[..., 0, 1] = torch.randn(batch, generator=generator, dtype=torch.float64)
    intrinsics[..., :2, 2] = size * (0.3 + 0.4 * torch.rand(*batch, 2, generator=generator, dtype=torch.float64))
    intrinsics[..., 2, 2] = 1
    centers = 2 * torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    pose = rigid(random_rotation(generator, *batch), centers)
    return Cameras.create(intrinsics.to(dtype), pose.to(dtype), height, width)


def random_similarity(seed: int, *batch: int, dtype: torch.dtype = torch.float64) -> Similarity:
    """Similarities with scales between 1/4 and 4."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.exp2(4 * torch.rand(batch, generator=generator, dtype=torch.float64) - 2)
    translation = 3 * torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    return Similarity(scale.to(dtype), random_rotation(generator, *batch, dtype=dtype), translation.to(dtype))


def random_pixels(seed: int, cameras: Cameras, count: int = 7) -> tuple[Tensor, Tensor]:
    """Pixels [*batch, count, 2] inside each image, and z-depths [*batch, count] between 0.5 and 4."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*cameras.batch_shape, count, 3, generator=generator, dtype=torch.float64).to(cameras.dtype)
    return values[..., :2] * cameras.image_sizes.flip(-1)[..., None, :], 0.5 + 3.5 * values[..., 2]


def random_views(
    seed: int, count: int, height: int = 24, width: int = 32, dtype: torch.dtype = torch.float32
) -> Views:
    """Views with all fields filled; a fifth of the depth is unknown."""
    generator = torch.Generator().manual_seed(seed)
    images, masks, depths = torch.rand(count, 5, height, width, generator=generator, dtype=dtype).split([3, 1, 1], 1)
    return Views(
        images,
        random_cameras(seed, count, height=height, width=width, dtype=dtype),
        masks=(masks > 0.5).to(dtype),
        depths=torch.where(depths < 0.2, 0, 4 * depths),
        names=tuple(f"{seed % 1000}_{i}.png" for i in range(count)),
    )


@contextmanager
def unchecked_shapes():
    """Call the library as users do, without the test suite's shape checks, which would raise before its own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
