"""What pip installs for the packages that modules import."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .modules import PACKAGE


def pip_requirements(imported: Iterable[str], extra: str = "") -> tuple[str, ...]:
    """The requirements of this package that packages come from, sorted.

    Args:
        imported: names of packages as they are imported, such as "PIL"; those of other extras are left out, and so
            are those that only come with others.
        extra: of this package, whose requirements count too.
    """
    wanted = {}
    for text in requires(PACKAGE) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            requirement.marker = None
            wanted[canonicalize_name(requirement.name)] = str(requirement)
    homes = _distributions()
    found = {canonicalize_name(distribution) for name in imported for distribution in homes.get(name, [])}
    return tuple(sorted(wanted[name] for name in found if name in wanted))


@cache
def _distributions() -> dict[str, list[str]]:
    """Distributions by the names that are imported from them."""
    return dict(packages_distributions())
