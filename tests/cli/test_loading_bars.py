"""Bars of the libraries that load a checkpoint."""

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from anyviews.cli.checkpoints import load_checkpoint


LIBRARIES = (diffusers_logging, transformers_logging)


def states() -> list[bool]:
    return [library.is_progress_bar_enabled() for library in LIBRARIES]


class Loadable:
    """Remembers whether bars were shown while it was loaded; its folder may be said to be broken."""

    @classmethod
    def from_pretrained(cls, checkpoint):
        cls.seen = states()
        if checkpoint.endswith("broken"):
            raise OSError("no weights")
        return cls()

    def to(self, device):
        return self


@pytest.fixture(params=[[True, True], [False, True], [True, False]])
def before(request):
    """Whether each library showed bars before."""
    kept = states()
    for wanted in (request.param, kept):
        for library, shown in zip(LIBRARIES, wanted, strict=True):
            library.enable_progress_bar() if shown else library.disable_progress_bar()
        if wanted is request.param:
            yield request.param


def test_quiet_loading_hides_all_bars_and_leaves_them_as_they_were(before, tmp_path):
    load_checkpoint(Loadable, str(tmp_path), "cpu", progress=True)
    assert Loadable.seen == before == states()
    load_checkpoint(Loadable, str(tmp_path), "cpu", progress=False)
    assert Loadable.seen == [False, False] and states() == before
    (tmp_path / "broken").mkdir()
    with pytest.raises(OSError, match="cannot be loaded: no weights"):
        load_checkpoint(Loadable, str(tmp_path / "broken"), "cpu", progress=False)
    assert Loadable.seen == [False, False] and states() == before
