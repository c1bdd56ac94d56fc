"""Trackers get what they can take, and one that is missing does not end a run."""

import pytest
from accelerate.tracking import GeneralTracker
from PIL import Image

from anyviews.training import tracking
from anyviews.training.arguments import TrainingArguments
from anyviews.training.tracking import log_pictures, usable_trackers


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "aim", "trackio"])
def test_pictures_go_to_trackers_as_each_takes_them(tmp_path, kind):
    taken = []

    class Tracker(GeneralTracker):
        name, requires_logging_directory, tracker = kind, False, None

        def store_init_configuration(self, values):
            pass

        def log(self, values, step=None):
            pass

        if kind != "trackio":  # it takes none

            def log_images(self, values, step=None, **options):
                taken.append((values, step, options))

    Image.new("RGBA", (5, 4), (255, 0, 0, 255)).save(tmp_path / "step-7.png")
    Image.new("L", (2, 2)).save(tmp_path / "depth.png")
    (tmp_path / "step-7.json").write_text("{}")
    log_pictures([Tracker(_blank=True)], tmp_path, 7)
    if kind == "trackio":
        assert taken == []
        return
    assert [list(values) for values, *_ in taken] == [["validation/depth"], ["validation/picture"]]
    values, step, options = taken[1]
    picture = values["validation/picture"]
    picture = picture[0] if kind in ("wandb", "tensorboard") else picture
    assert step == 7 and picture.shape == (4, 5, 3) and picture[0, 0].tolist() == [255, 0, 0]
    assert options == ({"dataformats": "NHWC"} if kind == "tensorboard" else {})


def test_trackers_that_are_asked_for(monkeypatch, caplog):
    assert TrainingArguments("out").report_to == "tensorboard"
    assert usable_trackers("tensorboard") == ["tensorboard"] and usable_trackers("none") == []
    assert "tensorboard" in usable_trackers("all")
    with pytest.raises(ValueError, match=r"--report_to tensorbord; accepted are .*tensorboard.*all and none"):
        usable_trackers("tensorbord")
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    assert usable_trackers("tensorboard") == [] and 'pip install "anyviews[train]"' in caplog.text
    assert usable_trackers("wandb") == [] and "pip install wandb" in caplog.text
