"""Protocols: what is measured, on what, and how, declared so that figures can be compared and repeated."""

from importlib import import_module

from .protocol import METRICS, Metric, Protocol, Ranking, Table


METHODS = ("mvgd", "mvdust3r", "lirm", "mvboost")


def protocols_of(method: str) -> dict[str, Protocol]:
    """The protocols of a method by their names."""
    return {protocol.name: protocol for protocol in import_module(f".{method}", __name__).PROTOCOLS}


def find_protocol(method: str, name: str) -> Protocol:
    """A protocol of a method.

    Raises:
        ValueError: if the method has none of this name.
    """
    found = protocols_of(method)
    if name not in found:
        raise ValueError(f"{method} has no protocol {name!r}; accepted are {', '.join(found)}")
    return found[name]


__all__ = ["METHODS", "METRICS", "Metric", "Protocol", "Ranking", "Table", "find_protocol", "protocols_of"]
