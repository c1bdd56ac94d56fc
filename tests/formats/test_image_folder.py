import numpy as np
import pytest
import torch
from PIL import Image

from anyviews.formats.image_folder import png_names, read_image_folder, write_image_folder


def test_reads_sorted_photos_without_cameras(tmp_path):
    for index, name in enumerate(("b.JPG", "a.png", "c.webp", "d.jpeg")):
        Image.fromarray(np.full((4, 6, 3), 50 * index, dtype=np.uint8)).save(tmp_path / name)
    for name in ("notes.txt", ".hidden.png", "film.mp4"):
        (tmp_path / name).write_text("no photo")
    views = read_image_folder(tmp_path)
    assert views.names == ("a.png", "b.JPG", "c.webp", "d.jpeg") and views.cameras is None
    np.testing.assert_allclose(views.images.mean((1, 2, 3)).numpy() * 255, [50, 0, 100, 150], atol=2)
    listed = read_image_folder([tmp_path / "c.webp", str(tmp_path / "a.png")], size=(2, 2))
    assert listed.images.shape == (2, 3, 2, 2) and listed.names[0].endswith("c.webp")


def test_empty_and_missing_folders_say_what_is_accepted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no photos in .*accepted are \.jpg"):
        read_image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no photos in an empty list"):
        read_image_folder([])
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_image_folder(tmp_path / "gone")


def test_written_images_are_read_by_pillow(tmp_path):
    images = torch.rand(2, 3, 5, 7)
    write_image_folder(images, tmp_path / "out", ["left/a.jpg", "view 1"])
    for image, name in zip(images, ("left/a.png", "view_1.png"), strict=True):
        stored = np.asarray(Image.open(tmp_path / "out" / name))
        np.testing.assert_array_equal(stored, (image.permute(1, 2, 0) * 255).round().numpy())
    torch.testing.assert_close(read_image_folder(tmp_path / "out" / "left").images[0], images[0], atol=0.003, rtol=0)


def test_names_are_safe_distinct_files():
    assert png_names(["images/a.jpg", "b.v2"]) == ["a.png", "b.v2.png"]
    assert png_names(["a.jpg", "a.png"]) == ["a.jpg.png", "a.png.png"]
    assert png_names(["../../etc/a.png", "/b.png"]) == ["etc/a.png", "b.png"]
    assert png_names(["x y", "x  y"]) == ["0000_x_y.png", "0001_x_y.png"]
    assert png_names(["..\\c.png"]) == ["c.png"]
