import numpy as np
import pytest
import torch
from PIL import Image

from anyviews.cameras import Cameras
from anyviews.formats.photos import Photo, load_photos


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def photo(path, name=None, size=(4, 6), focal=5.0, pose=None, **known):
    intrinsics = torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64) if pose is None else pose
    return Photo(path, name or path.name, intrinsics, pose, size, **known)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def test_loads_exact_values_and_cameras(tmp_path, pixels):
    views = load_photos([photo(save(tmp_path / "a.png", pixels))])
    np.testing.assert_array_equal((views.images[0].permute(1, 2, 0) * 255).round().numpy(), pixels)
    assert views.cameras.dtype == torch.float32 and views.masks is None and views.depths is None
    assert views.names == ("a.png",)


def test_gray_sixteen_bit_and_palette(tmp_path, pixels):
    gray16 = save(tmp_path / "gray16.png", np.full((4, 6), 65535 // 3, dtype=np.uint16))
    gray = save(tmp_path / "gray.png", pixels[..., 0])
    palette = tmp_path / "palette.png"
    Image.fromarray(pixels // 128 * 255).convert("P", palette=Image.Palette.ADAPTIVE).save(palette)
    views = load_photos([Photo(path, path.name) for path in (gray16, gray, palette)])
    torch.testing.assert_close(views.images[0], torch.full((3, 4, 6), 1 / 3))
    np.testing.assert_allclose(views.images[1].numpy(), np.stack([pixels[..., 0] / 255] * 3), atol=1e-6)
    np.testing.assert_allclose(views.images[2].permute(1, 2, 0).numpy(), pixels // 128, atol=0.02)


def test_transparency_becomes_mask_on_white(tmp_path, pixels):
    alpha = np.zeros((4, 6, 1), dtype=np.uint8)
    alpha[:2] = 255
    alpha[2] = 51
    rgba = save(tmp_path / "a.png", np.concatenate([pixels, alpha], axis=-1))
    opaque = save(tmp_path / "b.png", pixels)
    views = load_photos([Photo(rgba, "a"), Photo(opaque, "b")])
    torch.testing.assert_close(views.masks[0, 0, :, 0], torch.tensor([1.0, 1.0, 0.2, 0.0]))
    assert (views.masks[1] == 1).all()
    assert (views.images[0, :, 3] == 1).all()
    expected = 0.2 * pixels[2, :, 0] / 255 + 0.8
    np.testing.assert_allclose(views.images[0, 0, 2].numpy(), expected, atol=1e-6)


def oriented(path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, pixels, exif=exif)


def test_exif_orientation_turns_unposed_photos(tmp_path, pixels):
    views = load_photos([Photo(oriented(tmp_path / "a.png", pixels, 6), "a")])
    turned = np.rot90(pixels, k=-1)  # 6: the stored image must be turned clockwise
    np.testing.assert_array_equal((views.images[0].permute(1, 2, 0) * 255).round().numpy(), turned)


def test_exif_orientation_of_posed_photos_follows_the_camera(tmp_path, pixels):
    path = oriented(tmp_path / "a.png", pixels, 6)
    stored = load_photos([photo(path, size=(4, 6))])
    np.testing.assert_array_equal((stored.images[0].permute(1, 2, 0) * 255).round().numpy(), pixels)
    turned = load_photos([photo(path, size=(6, 4))])
    np.testing.assert_array_equal((turned.images[0].permute(1, 2, 0) * 255).round().numpy(), np.rot90(pixels, k=-1))


def test_resized_photo_scales_its_camera(tmp_path, pixels):
    views = load_photos([photo(save(tmp_path / "a.png", pixels), size=(8, 12), focal=10.0)])
    torch.testing.assert_close(views.cameras.intrinsics[0], torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]]))
    with pytest.raises(ValueError, match=r"a\.png is 4x6 .* for 8x9"):
        load_photos([photo(tmp_path / "a.png", size=(8, 9))])


def test_mixed_sizes_need_a_size(tmp_path, pixels):
    photos = [photo(save(tmp_path / "a.png", pixels)), photo(save(tmp_path / "b.png", pixels[:, :4]), size=(4, 4))]
    with pytest.raises(ValueError, match=r"a\.png is 4x6 and b\.png is 4x4 .*pass size"):
        load_photos(photos)
    views = load_photos(photos, size=(2, 2))
    assert views.images.shape == (2, 3, 2, 2)
    # the centre ray stays at the centre, and the focal length halves with the pixels
    torch.testing.assert_close(
        views.cameras.intrinsics, torch.tensor([[2.5, 0, 1], [0, 2.5, 1], [0, 0, 1]]).expand(2, 3, 3)
    )
    original = views.original_cameras()
    assert original.image_sizes.tolist() == [[4, 6], [4, 4]]
    torch.testing.assert_close(original.intrinsics[0, :2, 2], torch.tensor([3.0, 2.0]))


def test_selection_opens_no_other_file(tmp_path, pixels):
    photos = [Photo(tmp_path / "missing.png", "missing"), Photo(save(tmp_path / "a.png", pixels), "a")]
    assert load_photos(photos, select=[1]).names == ("a",)
    for select in ([2], [-1], [0, 0], []):
        with pytest.raises(ValueError, match="different indices from 0 to 1"):
            load_photos(photos, select=select)


def test_missing_masks_are_all_object_and_missing_depth_is_unknown(tmp_path, pixels):
    first, second = (save(tmp_path / f"{name}.png", pixels) for name in "ab")
    mask = save(tmp_path / "m" / "a.png", np.eye(4, 6, dtype=np.uint8) * 255)
    depth = save(tmp_path / "d" / "a.png", np.full((4, 6), 2000, dtype=np.uint16))
    views = load_photos([photo(first, mask=mask, depth=depth, depth_scale=1000.0), photo(second)])
    np.testing.assert_array_equal(views.masks[0, 0].numpy(), np.eye(4, 6))
    assert (views.masks[1] == 1).all() and (views.depths[0] == 2).all() and (views.depths[1] == 0).all()
    wrong = save(tmp_path / "m" / "b.png", np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"mask of b\.png is 2x2 but the photo 4x6"):
        load_photos([photo(second, mask=wrong)])


def test_broken_files_are_named(tmp_path, pixels):
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "png", "webp"):
        whole = save(tmp_path / f"whole.{suffix}", large).read_bytes()
        truncated = tmp_path / f"truncated.{suffix}"
        truncated.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"truncated\.{suffix}"):
            load_photos([Photo(truncated, "t")])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as an image"):
        load_photos([Photo(tmp_path / "text.png", "t")])
    Image.fromarray(np.zeros((4, 6), dtype=np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match="32-bit"):
        load_photos([Photo(tmp_path / "deep.tiff", "t")])


def test_unusable_cameras_are_named_before_any_image_is_read(tmp_path, pixels):
    path = save(tmp_path / "a.png", pixels)
    nan, sheared = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    nan[0, 3], sheared[0, 1] = torch.nan, 0.5
    for bad, message in (
        (photo(path, "bad", pose=nan), "NaN"),
        (photo(path, "bad", pose=sheared), "orthonormal"),
        (photo(path, "bad", focal=-5.0), "focal lengths must be positive"),
    ):
        with pytest.raises(ValueError, match=f"^bad: .*{message}"):
            load_photos([photo(path, "good"), bad])


def test_repeated_and_missing_photos_are_named(tmp_path, pixels):
    path = save(tmp_path / "a.png", pixels)
    with pytest.raises(ValueError, match=r"more than once, the first is a\.png"):
        load_photos([photo(path), photo(path)])
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files are missing: .*gone\.png"):
        load_photos([photo(path), photo(tmp_path / "gone.png")])


def test_cameras_agree_with_fitted_pixels(tmp_path):
    """A dot drawn where a world point projects is found where the fitted camera projects it."""
    camera = photo(tmp_path / "a.png", size=(60, 100), focal=50.0)
    world = torch.tensor([[0.25, -0.125, 1.0]], dtype=torch.float64)
    cameras = Cameras.create(camera.intrinsics, camera.camera_to_world, 60, 100)
    x, y = cameras.project(world)[0][0].tolist()
    image = np.zeros((60, 100, 3), dtype=np.uint8)
    image[int(y - 1) : int(y - 1) + 3, int(x - 1) : int(x - 1) + 3] = 255
    save(tmp_path / "a.png", image)
    views = load_photos([camera], size=(30, 30))
    weights = views.images[0, 0]
    rows, columns = torch.meshgrid(torch.arange(30) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    center = torch.stack([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
    projected = views.cameras[0].project(world.float())[0][0]
    assert (center - projected).abs().max() < 0.3
