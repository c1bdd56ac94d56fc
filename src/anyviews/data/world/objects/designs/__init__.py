"""Designs: recipes that turn random numbers into the parts and materials of an object."""

from .catalogue import Design, random_design


__all__ = ["Design", "random_design"]
