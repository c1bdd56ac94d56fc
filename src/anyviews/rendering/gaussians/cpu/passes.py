"""The passes that render one view, and those of its gradients."""

from dataclasses import dataclass, replace

import numpy as np

from ..settings import LINEARISATION_MARGIN, MIN_ALPHA, MIN_TRANSMITTANCE, TILE, RasterSettings
from .binning import add_pairs, fill_lists, front_to_back, plan_windows, tile_counts
from .blending import PLACED, SHADED, SUMS, blend_tiles, blend_tiles_backward
from .projection import CAMERA_VALUES, project, project_backward
from .workers import balanced_ranges, equal_ranges, run, worker_count


# Gaussians are projected in chunks of this size, whatever the number of threads: each adds up its share of the
# cameras' gradients, and the shares are added in order.
CHUNK = 4096

# Blending numbers the Gaussians of a tile in float32, which is exact up to here.
MOST_IN_TILE = 1 << 24

# What a tile costs without any Gaussian, in Gaussians.
EMPTY_TILE = 4

# Window, offsets and members, see `blend_tiles`.
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Placement:
    """Projected Gaussians of one view.

    Args:
        records: `placed` [N, 4] and `shaded` [N, 7], see `blending`.
        rectangles: [N, 4], the tiles that each Gaussian touches.
        order: indices of those that touch any, front to back.
        counts: [rows, columns], how many touch each tile.
        windows: parts of the image whose lists are held at once.
        lists: of the only window, if there is one only.
    """

    records: tuple[np.ndarray, np.ndarray]
    rectangles: np.ndarray
    order: np.ndarray
    counts: np.ndarray
    windows: list[np.ndarray]
    lists: Lists | None = None

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in (*self.records, self.rectangles, self.order, *(self.lists or ())))


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
        self.gaussians, self.cameras = tuple(arrays[:5]), tuple(arrays[5:])
        self.count, self.size = len(arrays[0]), size
        self.rows, self.columns = -(-size[0] // TILE), -(-size[1] // TILE)
        # float and bool, since kernels are compiled for the types of their arguments
        limits = (float(settings.near), float(settings.far), float(settings.blur), MIN_ALPHA, LINEARISATION_MARGIN)
        self.projecting = (*limits, bool(settings.antialiased), settings.extent == "tiles", harmonic)
        self.blending = tuple(np.float32(value) for value in (MIN_ALPHA, settings.max_alpha, MIN_TRANSMITTANCE))

    def forward(self, view: int, out: np.ndarray) -> Frame:
        """Render a view into `out` [5, H, W]."""
        placement = self._place(view)
        light, stops = np.empty(self.size, np.float32), np.empty(self.size, np.float32)
        for window in placement.windows:
            lists = self._lists(placement, window)
            costs = np.diff(lists[1]) + EMPTY_TILE
            run(blend_tiles, balanced_ranges(costs), lists, placement.records, self.blending, out, light, stops)
        if len(placement.windows) == 1:
            placement = replace(placement, lists=lists)
        return Frame(light, stops, placement)

    def backward(self, view: int, frame: Frame, slopes: np.ndarray, gradients: tuple[np.ndarray, ...]) -> np.ndarray:
        """Add the gradients of a view to those of the Gaussians, and give the camera's [17].

        Args:
            view: as in `forward`.
            frame: what `forward` gave.
            slopes: [5, H, W], derivatives of a loss by what `forward` rendered.
            gradients: of the Gaussians' arrays; those of the features are [N, 0, 3] where they are not wanted.
        """
        placement = frame.placement or self._place(view)
        sums = np.zeros((self.count, SUMS), np.float32)
        for window in placement.windows:
            self._blend_backward(placement, placement.lists or self._lists(placement, window), frame, slopes, sums)
        chunks = equal_ranges(self.count, CHUNK)
        of_camera = np.zeros((len(chunks), CAMERA_VALUES))

        def work(first: int, last: int) -> None:
            share = of_camera[first // CHUNK]
            project_backward(first, last, *self._projection(view), placement.rectangles, sums, gradients, share)

        run(work, chunks)
        return of_camera.sum(0)

    def _projection(self, view: int) -> tuple:
        camera = tuple(values[view] for values in self.cameras)
        return self.gaussians, camera, self.size, self.projecting

    def _place(self, view: int) -> Placement:
        """Project and sort."""
        records = np.empty((self.count, PLACED)), np.empty((self.count, SHADED), np.float32)
        rectangles = np.empty((self.count, 4), np.int32)
        run(project, equal_ranges(self.count, CHUNK), *self._projection(view), records, rectangles)
        counts = tile_counts(rectangles, self.rows, self.columns)
        if counts.max() > MOST_IN_TILE:
            raise ValueError(
                f"one tile of 16x16 pixels is touched by {counts.max():,} Gaussians; accepted are {MOST_IN_TILE:,}. "
                "Leave out the faint ones (Gaussians.prune)"
            )
        order = front_to_back(rectangles, records[1][:, 5])
        return Placement(records, rectangles, order, counts, plan_windows(counts))

    def _lists(self, placement: Placement, window: np.ndarray) -> Lists:
        left, right, top, bottom = window
        counts = placement.counts[top:bottom, left:right]
        offsets = np.concatenate([[0], counts.cumsum()])
        lists = window, offsets, np.empty(offsets[-1], np.int32)
        bands = balanced_ranges(counts.sum(1) + EMPTY_TILE, worker_count())
        run(fill_lists, bands, placement.order, placement.rectangles, *lists)
        return lists

    def _blend_backward(
        self, placement: Placement, lists: Lists, frame: Frame, slopes: np.ndarray, sums: np.ndarray
    ) -> None:
        """Add the sums over the pixels of a window to those of its Gaussians."""
        left, right, top, bottom = lists[0]
        used = self._used(frame.stops)[top:bottom, left:right].ravel()
        pairs = used.cumsum() - used, used
        values = np.empty((int(used.sum()), SUMS), np.float32)
        pixels = frame.light, frame.stops
        tiles = balanced_ranges(used + EMPTY_TILE)
        run(blend_tiles_backward, tiles, lists, pairs, placement.records, self.blending, slopes, *pixels, values)
        run(add_pairs, equal_ranges(self.count, -(-self.count // worker_count())), lists, pairs, values, sums)

    def _used(self, stops: np.ndarray) -> np.ndarray:
        """How many Gaussians of each tile's list were looked at, [rows, columns]."""
        pad = [(0, count * TILE - size) for count, size in zip((self.rows, self.columns), self.size, strict=True)]
        tiles = np.pad(stops, pad).reshape(self.rows, TILE, self.columns, TILE)
        return tiles.max((1, 3)).astype(np.int64)
