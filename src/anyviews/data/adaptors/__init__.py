"""Adaptors: public datasets, in the form that their authors publish them, as samples."""

from dataclasses import fields
from inspect import signature
from pathlib import Path

from .adaptor import Adaptor, Problem, Reading
from .buffers import ObjectBuffersAdaptor
from .co3d import CO3DAdaptor
from .colmap import ColmapAdaptor
from .habitat import HabitatAdaptor
from .nerfstudio import NerfstudioAdaptor
from .objaverse import ObjaverseAdaptor
from .realestate10k import RealEstate10KAdaptor
from .scanned_objects import ScannedObjectsAdaptor
from .scannet import ScanNetAdaptor
from .scannetpp import ScanNetPlusPlusAdaptor
from .stanford_orb import StanfordORBAdaptor


ADAPTORS: dict[str, type[Adaptor]] = {
    adaptor.name: adaptor
    for adaptor in (
        CO3DAdaptor,
        ColmapAdaptor,
        HabitatAdaptor,
        NerfstudioAdaptor,
        ObjaverseAdaptor,
        ObjectBuffersAdaptor,
        RealEstate10KAdaptor,
        ScanNetAdaptor,
        ScanNetPlusPlusAdaptor,
        ScannedObjectsAdaptor,
        StanfordORBAdaptor,
    )
}


def open_adaptor(name: str, folder: Path | str, **options) -> Adaptor:
    """Open a public dataset; iterate over the result for its samples, and read its `problems` afterwards.

    Args:
        name: one of ADAPTORS.
        folder: where the dataset was unpacked.
        options: fields of `Reading` (split, views_per_sample, size, stride, ...) and the adaptor's own.

    Raises:
        FileNotFoundError: if there is no such folder.
        TypeError: for an option that this adaptor does not take.
        ValueError: for an unknown name, or an option's value that is not accepted.
    """
    if name not in ADAPTORS:
        raise ValueError(f"no adaptor for {name!r}; accepted are {', '.join(sorted(ADAPTORS))}")
    common = {field.name for field in fields(Reading)}
    own = {key: value for key, value in options.items() if key not in common}
    accepted = own_options(name)
    if unknown := sorted(set(own) - accepted):
        listed = ", ".join(sorted(common | accepted))
        raise TypeError(f"{name} does not take {', '.join(unknown)}; accepted are {listed}")
    reading = Reading(**{key: value for key, value in options.items() if key in common})
    return ADAPTORS[name](folder, reading, **own)


def own_options(name: str) -> set[str]:
    """The options of an adaptor beyond the fields of `Reading`."""
    return set(signature(ADAPTORS[name]).parameters) - {"folder", "reading"}


__all__ = ["ADAPTORS", "Adaptor", "Problem", "Reading", "open_adaptor", "own_options"]
