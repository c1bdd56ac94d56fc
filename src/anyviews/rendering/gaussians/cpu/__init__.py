"""The Gaussian renderer for processors without a GPU: kernels compiled at first use, forward and backward."""

from .rasterize import rasterize


__all__ = ["rasterize"]
