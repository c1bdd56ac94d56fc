import numpy as np
import torch
from PIL import Image

from anyviews.cli.overview import GAP, LABEL, SIDE, write_overview


def test_rows_are_thinned_out_and_enlarged_without_smoothing(tmp_path):
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    three = colors[:, :, None, None].expand(3, 3, 32, 32)
    nine = torch.linspace(0, 1, 9)[:, None, None, None].expand(9, 3, 20, 40)
    write_overview(tmp_path / "a.jpg", [("three", list(three)), ("nine", nine)])
    sheet = np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    assert sheet.shape == (2 * (LABEL + GAP) + SIDE + SIDE // 2, 5 * (SIDE + GAP) - GAP, 3)
    first = sheet[LABEL : LABEL + SIDE]
    for column, color in enumerate((colors * 255).tolist()):
        cell = first[8:-8, column * (SIDE + GAP) + 8 : (column + 1) * (SIDE + GAP) - GAP - 8]
        assert np.abs(cell - color).max() < 12
    grays = [sheet[-20, column * (SIDE + GAP) + 90].mean() for column in range(5)]
    assert np.abs(np.array(grays) - np.array([0, 2, 4, 6, 8]) / 8 * 255).max() < 6


def test_pixels_stay_squares(tmp_path):
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    write_overview(tmp_path / "a.jpg", [("board", [board.float().expand(3, 8, 8)])])
    sheet = np.asarray(Image.open(tmp_path / "a.jpg").convert("L"))[LABEL:][:SIDE]
    step = SIDE // 8
    found = sheet[step // 2 :: step, step // 2 :: step] > 127
    assert (found == board.bool().numpy()).all()
    assert sheet[2 : step - 2, 2 : step - 2].max() < 40
