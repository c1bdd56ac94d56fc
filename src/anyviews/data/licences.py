"""Which licences of a sample's images a reader accepts."""

import re
from collections.abc import Sequence
from typing import Literal


Allow = Literal["commercial"] | Sequence[str] | None

# Hub licence identifiers that permit commercial use and changed copies, which a trained model may be held to be. Those
# named cc-by-* and odc-by ask for attribution, and cc-by-sa-* asks to share what is derived under the same licence.
COMMERCIAL = frozenset(
    (
        "afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc0-1.0 "
        "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 "
        "ecl-2.0 etalab-2.0 isc mit ncsa odc-by pddl postgresql unlicense wtfpl zlib"
    ).split()
)

# What "commercial" leaves out without a word: nothing is stated, or it is known not to permit it.
NOT_COMMERCIAL = frozenset(
    "unknown other cc h-research intel-research apple-amlr fair-noncommercial-research-license".split()
)

# no commercial use, no derivatives
RESTRICTED_PART = re.compile(r"(^|-)(nc|nd)(-|$)")


def check_allow(allow: Allow) -> None:
    """Raise ValueError if `allow` is not "commercial", a list of licence identifiers, or None."""
    if isinstance(allow, str) and allow != "commercial":
        raise ValueError(
            f"allow={allow!r} is unknown; accepted are 'commercial', a list of licence identifiers such as "
            f"[{allow!r}], and None for all"
        )


def is_allowed(licence: str, allow: Allow) -> bool:
    """Whether samples of a licence may be used.

    Args:
        licence: Hub identifier, "" where none is stated.
        allow: "commercial" for those that permit commercial use and changes, a list of identifiers, or None for all.

    Raises:
        ValueError: for a licence that is in no table, when only commercial ones are allowed.
    """
    if allow is None:
        return True
    licence = licence.strip().lower()
    if not isinstance(allow, str):
        return licence in {name.strip().lower() for name in allow}
    if licence in COMMERCIAL:
        return True
    if not licence or licence in NOT_COMMERCIAL or RESTRICTED_PART.search(licence):
        return False
    raise ValueError(
        f"whether the licence {licence!r} permits commercial use is not known; give the licences that you accept by "
        f"name, as in allow=['cc-by-4.0', {licence!r}]"
    )
