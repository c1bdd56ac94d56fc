"""Why an object gives no sample."""

from typing import Literal


Reason = Literal["unreadable", "empty", "transparent", "textures", "invisible", "light", "crashed", "timeout", "error"]


class UnusableObjectError(ValueError):
    """An object that cannot be rendered faithfully.

    Args:
        reason: one word, by which failures are counted.
        message: what was found.
    """

    def __init__(self, reason: Reason, message: str):
        # both reach the base class, so that the error can cross processes
        super().__init__(reason, message)
        self.reason = reason

    def __str__(self) -> str:
        return self.args[1]
