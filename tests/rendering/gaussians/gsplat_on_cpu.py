"""gsplat's own Python on a CPU: its kernels replaced by its PyTorch code, and by a plain blend where it has none."""

import itertools

import gsplat
import torch
from gsplat import rendering
from gsplat.cuda import _torch_impl as in_torch
from torch import Tensor


class Kernels:
    """Stand-ins for the five kernels that `gsplat.rasterization` calls, and a record of its arguments.

    Args:
        max_alpha: the bound on opacities that the blending kernel is compiled with.
    """

    def __init__(self, max_alpha: float = 0.999):
        self.max_alpha = max_alpha
        self.calls = []

    def install(self, monkeypatch) -> None:
        """Put the stand-ins in place for one test."""
        genuine = gsplat.rasterization

        def recorded(**arguments):
            self.calls.append(arguments)
            return genuine(**arguments)

        monkeypatch.setattr(gsplat, "rasterization", recorded)
        for module in (rendering, gsplat):
            monkeypatch.setattr(module, "isect_tiles", self.isect_tiles)
            monkeypatch.setattr(module, "isect_offset_encode", in_torch._isect_offset_encode)
            monkeypatch.setattr(module, "rasterize_to_pixels", self.rasterize_to_pixels)
        monkeypatch.setattr(rendering, "fully_fused_projection", self.fully_fused_projection)
        monkeypatch.setattr(rendering, "spherical_harmonics", self.spherical_harmonics)

    def fully_fused_projection(self, means, covars, quats, scales, viewmats, ks, width, height, **options):
        assert covars is None and not options["packed"] and not options["sparse_grad"] and options["radius_clip"] == 0
        covariances, _ = in_torch._quat_scale_to_covar_preci(quats, scales, True, False)
        kept = ("eps2d", "near_plane", "far_plane", "calc_compensations", "camera_model")
        return in_torch._fully_fused_projection(
            means, covariances, viewmats, ks, width, height, **{name: options[name] for name in kept}
        )

    def spherical_harmonics(self, degree, directions, coefficients, masks):
        return in_torch._spherical_harmonics(degree, directions, coefficients)

    def isect_tiles(self, means2d, radii, depths, tile_size, tile_width, tile_height, **options):
        assert radii.dtype == torch.int32
        assert not options.get("packed") and not options.get("segmented")
        return in_torch._isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height)

    def rasterize_to_pixels(
        self, means2d, conics, colors, opacities, width, height, tile_size, offsets, flatten_ids, **options
    ) -> tuple[Tensor, Tensor]:
        """Blend each tile's list of Gaussians as the kernel does (RasterizeToPixels3DGSFwd.cu of version 1.5.3)."""
        assert options.get("backgrounds") is None and options.get("masks") is None and not options.get("packed")
        images, tile_height, tile_width = offsets.shape
        assert conics.shape == (*means2d.shape[:-1], 3) and opacities.shape == means2d.shape[:-1]
        ends = [*offsets.flatten().tolist(), len(flatten_ids)]
        flat = [values.flatten(0, 1) for values in (means2d, conics, colors, opacities)]
        tiles = [
            self._tile(*(values[flatten_ids[start:end].long()] for values in flat), tile_size, tile)
            for tile, (start, end) in enumerate(itertools.pairwise(ends))
            for tile in [(tile // tile_width % tile_height, tile % tile_width)]
        ]
        canvas = torch.stack(tiles).unflatten(0, (images, tile_height, tile_width))  # [I, R, C, T, T, D + 1]
        canvas = canvas.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return canvas[..., :-1], canvas[..., -1:]

    def _tile(self, means, conics, colors, opacities, size, tile) -> Tensor:
        rows, columns = (index * size + torch.arange(size) + 0.5 for index in tile)
        x = means[:, 0] - columns[None, :, None]
        y = means[:, 1] - rows[:, None, None]
        sigma = 0.5 * (conics[:, 0] * x * x + conics[:, 2] * y * y) + conics[:, 1] * x * y
        alpha = (opacities * (-sigma).exp()).clamp(max=self.max_alpha)
        alpha = torch.where((sigma < 0) | (alpha < 1 / 255), 0, alpha)
        after = (1 - alpha).cumprod(-1)
        before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
        weight = torch.where(after <= 1e-4, 0, alpha * before)
        return torch.cat([weight @ colors, weight.sum(-1, keepdim=True)], dim=-1)
