"""What a run has sent to TensorBoard, the tracker of all scripts unless told otherwise."""

from pathlib import Path

import pytest


def assert_tracked(output_dir: Path, name: str, steps: list[int]) -> None:
    """The event files of a run hold the loss, the scores and the pictures of the validations of some steps."""
    pytest.importorskip("tensorboard", reason="needs tensorboard (the extra train)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output_dir / "logs" / name)).Reload()
    tags = events.Tags()
    assert "train/loss" in tags["scalars"] and any(tag.startswith("validation/") for tag in tags["scalars"])
    shown = events.Images("validation/picture")
    assert [image.step for image in shown] == steps
    assert min(shown[0].width, shown[0].height) > 8
    assert shown[0].encoded_image_string.startswith(b"\x89PNG")
