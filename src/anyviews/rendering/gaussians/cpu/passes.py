"""The passes that render one view, and those of its gradients."""

from dataclasses import dataclass, replace

import numpy as np

from ..settings import LINEARISATION_MARGIN, MIN_ALPHA, MIN_TRANSMITTANCE, TILE, RasterSettings
from .binning import add_pairs, fill_lists, front_to_back, plan_windows, tile_counts
from .blending import PLACED, SHADED, SUMS, blend_tiles, blend_tiles_backward
from .projection import CAMERA_VALUES, project, project_backward
from .workers import balanced_ranges, equal_ranges, run, worker_count


# What is kept from the forward for the backward pass, beyond the pixels; the rest is computed again.
KEPT_BYTES = 1 << 28

# Gaussians are projected in chunks of this size, whatever the number of threads: each adds up its share of the
# cameras' gradients, in this order.
CHUNK = 4096

# What a tile costs without any Gaussian, in Gaussians.
EMPTY_TILE = 4


@dataclass(frozen=True)
class Lists:
    """Tile by tile, the Gaussians of one window front to back.

    Args:
        window: first and last + 1 tile column, first and last + 1 tile row.
        offsets: [tiles + 1] into `members`, row by row within the window.
        members: [pairs], indices of Gaussians.
    """

    window: np.ndarray
    offsets: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class Placement:
    """Projected Gaussians of one view: the records of `project`, and their order front to back."""

    placed: np.ndarray
    shaded: np.ndarray
    rectangles: np.ndarray
    order: np.ndarray
    windows: list[np.ndarray]
    counts: np.ndarray
    lists: Lists | None = None  # of the only window


@dataclass(frozen=True)
class Frame:
    """What the backward pass of one view needs.

    Args:
        light: [H, W], transmittance behind the last Gaussian that counts.
        stops: [H, W], place of the Gaussian that finished the pixel, else the length of its tile's list.
        placement: None if it is to be computed again.
    """

    light: np.ndarray
    stops: np.ndarray
    placement: Placement | None

    @property
    def bytes(self) -> int:
        if self.placement is None:
            return 0
        kept = self.placement
        members = 0 if kept.lists is None else kept.lists.members.nbytes
        return members + sum(array.nbytes for array in (kept.placed, kept.shaded, kept.rectangles, kept.order))

    def without_placement(self) -> "Frame":
        return replace(self, placement=None)


class Rasterizer:
    """Renders views of one set of Gaussians.

    Args:
        arrays: means [N, 3], rotations [N, 4], scales [N, 3], opacities [N] and features [N, K, 3] in float32; the
            cameras' rotations to the world [V, 3, 3], centres [V, 3] and intrinsics [V, 3, 3] in float64.
        size: height and width of the images in pixels.
        settings: of the renderer.
        harmonic: whether features are spherical harmonics; otherwise they are colours [N, 1, 3].
    """

    def __init__(self, arrays: list[np.ndarray], size: tuple[int, int], settings: RasterSettings, harmonic: bool):
        self.gaussians, self.features, self.cameras = tuple(arrays[:4]), arrays[4], tuple(arrays[5:])
        self.size = size
        self.rows, self.columns = -(-size[0] // TILE), -(-size[1] // TILE)
        self.projecting = (
            settings.near,
            settings.far,
            settings.blur,
            MIN_ALPHA,
            LINEARISATION_MARGIN,
            settings.antialiased,
            settings.extent == "tiles",
            harmonic,
        )
        self.blending = tuple(np.float32(value) for value in (MIN_ALPHA, settings.max_alpha, MIN_TRANSMITTANCE))

    def forward(self, view: int, out: np.ndarray) -> Frame:
        """Render a view into `out` [5, H, W]."""
        placement = self._place(view)
        light, stops = np.empty(self.size, np.float32), np.empty(self.size, np.float32)
        for window in placement.windows:
            lists = self._lists(placement, window)
            if len(placement.windows) == 1:
                placement = replace(placement, lists=lists)

            def blend(first: int, last: int, lists: Lists = lists) -> None:
                blend_tiles(
                    first, last, lists.window, lists.offsets, lists.members, placement.placed, placement.shaded,
                    self.blending, out, light, stops,
                )  # fmt: skip

            run(blend, balanced_ranges(np.diff(lists.offsets) + EMPTY_TILE))
        return Frame(light, stops, placement)

    def backward(
        self,
        view: int,
        frame: Frame,
        slopes: np.ndarray,
        gradients: list[np.ndarray],
        of_features: np.ndarray,
    ) -> np.ndarray:
        """Add the gradients of a view to those of the Gaussians, and give the camera's [17].

        Args:
            view: as in `forward`.
            frame: what `forward` gave.
            slopes: [5, H, W], derivatives of a loss by what `forward` rendered.
            gradients: of means, rotations, scales and opacities.
            of_features: [N, K, 3], or [N, 0, 3] where it is not wanted.
        """
        placement = frame.placement or self._place(view)
        sums = np.zeros((len(placement.rectangles), SUMS), np.float32)
        for window in placement.windows:
            self._blend_backward(placement, placement.lists or self._lists(placement, window), frame, slopes, sums)
        chunks = equal_ranges(len(sums), CHUNK)
        of_camera = np.zeros((len(chunks), CAMERA_VALUES))

        def chunk(first: int, last: int) -> None:
            project_backward(
                first, last, self.gaussians, self.features, self._camera(view), self.size, self.projecting,
                placement.rectangles, sums, tuple(gradients), of_features, of_camera[first // CHUNK],
            )  # fmt: skip

        run(chunk, chunks)
        return of_camera.sum(0)

    def _camera(self, view: int) -> tuple[np.ndarray, ...]:
        return tuple(values[view] for values in self.cameras)

    def _place(self, view: int) -> Placement:
        """Project and sort."""
        count = len(self.features)
        placed, shaded = np.empty((count, PLACED)), np.empty((count, SHADED), np.float32)
        rectangles = np.empty((count, 4), np.int32)

        def chunk(first: int, last: int) -> None:
            project(
                first, last, self.gaussians, self.features, self._camera(view), self.size, self.projecting, placed,
                shaded, rectangles,
            )  # fmt: skip

        run(chunk, equal_ranges(count, CHUNK))
        counts = tile_counts(rectangles, self.rows, self.columns)
        order = front_to_back(rectangles, shaded[:, 5])
        return Placement(placed, shaded, rectangles, order, plan_windows(counts), counts)

    def _lists(self, placement: Placement, window: np.ndarray) -> Lists:
        left, right, top, bottom = window
        counts = placement.counts[top:bottom, left:right]
        offsets = np.concatenate([[0], counts.cumsum()])
        members = np.empty(offsets[-1], np.int32)

        def fill(first: int, last: int) -> None:
            fill_lists(first, last, placement.order, placement.rectangles, window, offsets, members)

        run(fill, balanced_ranges(counts.sum(1), worker_count()))
        return Lists(window, offsets, members)

    def _blend_backward(
        self, placement: Placement, lists: Lists, frame: Frame, slopes: np.ndarray, sums: np.ndarray
    ) -> None:
        """Add the sums over the pixels of a window to those of its Gaussians."""
        left, right, top, bottom = lists.window
        used = self._deepest(frame.stops)[top:bottom, left:right].ravel()
        starts = used.cumsum() - used
        pairs = np.empty((int(used.sum()), SUMS), np.float32)

        def blend(first: int, last: int) -> None:
            blend_tiles_backward(
                first, last, lists.window, lists.offsets, lists.members, starts, used, placement.placed,
                placement.shaded, self.blending, slopes, frame.light, frame.stops, pairs,
            )  # fmt: skip

        def add(first: int, last: int) -> None:
            add_pairs(first, last, lists.offsets, lists.members, starts, used, pairs, sums)

        run(blend, balanced_ranges(used + EMPTY_TILE))
        run(add, equal_ranges(len(sums), -(-len(sums) // worker_count())))

    def _deepest(self, stops: np.ndarray) -> np.ndarray:
        """How many Gaussians of each tile's list are looked at, [rows, columns]."""
        pad = [(0, count * TILE - size) for count, size in zip((self.rows, self.columns), self.size, strict=True)]
        tiles = np.pad(stops, pad).reshape(self.rows, TILE, self.columns, TILE)
        return tiles.max((1, 3)).astype(np.int64)
