"""Kind "apartment": several connected, furnished rooms with physically based materials and lights."""

from .render import render_apartments


__all__ = ["render_apartments"]
