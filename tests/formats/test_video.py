import imageio_ffmpeg
import numpy as np
import pytest
import torch

from anyviews.formats.video import write_video


def smooth_frames(height, width, count=5):
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    return torch.stack([ramp * torch.tensor([1.0, 0.5, index / count])[:, None, None] for index in range(count)])


@pytest.mark.parametrize(("height", "width"), [(32, 48), (31, 47)])
def test_ffmpeg_reads_frames_padded_to_even(tmp_path, height, width):
    frames = smooth_frames(height, width)
    write_video(frames, tmp_path / "film.mp4", fps=10)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    facts = next(reader)
    assert facts["size"] == (48, 32) and facts["fps"] == 10 and facts["codec"] == "h264"
    assert facts["pix_fmt"].startswith("yuv420p")
    decoded = [np.frombuffer(frame, dtype=np.uint8).reshape(32, 48, 3) for frame in reader]
    assert len(decoded) == len(frames)
    for frame, image in zip(decoded, frames, strict=True):
        difference = frame[:height, :width] / 255 - image.permute(1, 2, 0).numpy()
        assert np.abs(difference).mean() < 0.02


def test_nothing_is_left_where_there_is_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        write_video(torch.zeros(0, 3, 4, 4), tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="fps is 0"):
        write_video(smooth_frames(4, 4), tmp_path / "film.mp4", fps=0)
    assert not list(tmp_path.iterdir())
