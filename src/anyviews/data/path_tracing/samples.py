"""From a mesh file to a sample of the schema."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..samples import Sample, derive_seed
from .light import random_light
from .meshes import load_asset
from .render import BACKGROUNDS, Background, render_views
from .variants import Variant, load_mitsuba
from .viewpoints import random_cameras


@dataclass(frozen=True)
class Settings:
    """What a sample depends on, besides its mesh.

    Args:
        variant: of Mitsuba; the two give pictures with different noise.
        views: per object.
        size: of the square images in pixels.
        samples: paths per pixel.
        seed: of cameras, light and noise.
        environments: files of light to choose from; none for procedural light.
        background: what is seen beside the object.
        denoise: whether to remove noise.
        up: the axis of the files that points up.
        licence: of the meshes, as a Hub identifier.
        threads: per process; the pictures do not depend on it.
    """

    variant: Variant
    views: int = 24
    size: int = 256
    samples: int = 64
    seed: int = 0
    environments: tuple[str, ...] = ()
    background: Background = "environment"
    denoise: bool = False
    up: Literal["y", "z"] = "y"
    licence: str = "unknown"
    threads: int = 1

    def __post_init__(self):
        for name, low, high in (("views", 1, 4096), ("size", 8, 4096), ("samples", 1, 1 << 20)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; accepted are {low} to {high}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background is {self.background!r}; accepted are {', '.join(BACKGROUNDS)}")

    def record(self) -> dict:
        """What a resumed run must agree on."""
        return {name: value for name, value in asdict(self).items() if name != "threads"}


def render_sample(path: Path, key: str, settings: Settings) -> tuple[Sample, tuple[str, ...]]:
    """Render one mesh file; the same key and settings give the same sample.

    Args:
        path: the mesh.
        key: its name in the dataset.
        settings: the options.

    Returns:
        The sample, and what of the file was repaired or left out.

    Raises:
        UnusableObjectError: if it cannot be rendered faithfully.
    """
    mitsuba = load_mitsuba(settings.variant, settings.threads)
    asset = load_asset(path, settings.up)
    environment = random_light(key, settings.seed, [Path(file) for file in settings.environments])
    cameras = random_cameras(asset, key, settings.views, settings.size, settings.seed)
    views = render_views(
        mitsuba,
        asset,
        environment,
        cameras,
        samples=settings.samples,
        seed=derive_seed("noise", key, settings.seed) % 2**32,
        background=settings.background,
        denoise=settings.denoise,
    )
    facts = {"licence": settings.licence, "source": f"{key}, path traced with Mitsuba 3"}
    return Sample(key, views, environment=environment, **facts), asset.notices
