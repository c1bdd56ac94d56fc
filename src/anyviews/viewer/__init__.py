"""Looking at scenes: whatever a file or folder holds, in the browser, live or as one page that opens offline."""

from .things import Steps, load_things


__all__ = ["Steps", "load_things"]
