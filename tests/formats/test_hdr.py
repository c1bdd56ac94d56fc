import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import property_settings, seeds

from anyviews.environment import Environment
from anyviews.formats.hdr import decode_hdr, encode_hdr, read_environment, write_environment


HEAD = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"


def picture(seed: int, height: int, width: int) -> torch.Tensor:
    """Radiance over many decades with black pixels and long runs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.exp2(24 * torch.rand(3, height, width, generator=generator) - 14)
    values[:, torch.rand(height, width, generator=generator) < 0.2] = 0
    if width > 4:
        start, stop = sorted(torch.randint(0, width, (2,), generator=generator).tolist())
        values[..., start:stop] = values[..., start : start + 1]
    return values


@property_settings
@given(seed=seeds, height=st.integers(1, 6), width=st.sampled_from([1, 3, 7, 8, 9, 31, 127, 128, 129, 400, 700]))
def test_a_round_trip_is_off_by_at_most_a_256th_of_the_largest_channel(seed, height, width):
    radiance = picture(seed, height, width)
    back = decode_hdr(encode_hdr(radiance))
    assert back.shape == radiance.shape and back.dtype == torch.float32
    assert ((back - radiance).abs() <= radiance.amax(0) * 2**-8).all()
    assert torch.equal(decode_hdr(encode_hdr(back)), back)


@pytest.mark.parametrize("value", [1.0, 0.5, 255 / 256, 0.998046875, 0.9999999, 2.0**126, 2.0**-120])
def test_values_at_the_edge_of_an_exponent(value):
    back = decode_hdr(encode_hdr(torch.full((3, 2, 9), value)))
    assert ((back - value).abs() <= value * 2**-8).all()


def test_what_is_too_small_becomes_black():
    assert not decode_hdr(encode_hdr(torch.full((3, 2, 9), 1e-42))).any()


def test_flat_rows_and_the_old_run_length_code():
    grey, red = bytes((128, 128, 128, 129)), bytes((128, 0, 0, 129))
    flat = decode_hdr(HEAD + b"-Y 1 +X 3\n" + grey + red + grey)
    assert flat[:, 0].T.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]
    # 1, 1, 1, n repeats a pixel n times, and a second one in a row counts in units of 256
    coded = decode_hdr(HEAD + b"-Y 2 +X 300\n" + (grey + b"\1\1\1\x2a" + b"\1\1\1\x01" + red) * 2)
    assert (coded[0] == 1).all() and (coded[1:, :, :299] == 1).all() and not coded[1:, :, 299].any()


def test_each_row_may_be_coded_in_its_own_way():
    radiance = picture(3, 2, 16)
    coded = encode_hdr(radiance)
    expected = decode_hdr(coded)
    rows = [encode_hdr(radiance[:, row : row + 1]).split(b"+X 16\n")[1] for row in range(2)]
    mantissas = (expected[:, 1] * 2**10).round()
    assert mantissas.shape == (3, 16)
    narrow = (
        encode_hdr(radiance[:, 1:, :7]).split(b"+X 7\n")[1] + encode_hdr(radiance[:, 1:, 7:14]).split(b"+X 7\n")[1]
    )
    narrow += encode_hdr(radiance[:, 1:, 14:]).split(b"+X 2\n")[1]
    assert torch.equal(decode_hdr(HEAD + b"-Y 2 +X 16\n" + rows[0] + narrow), expected)


def test_exposure_is_undone():
    data = encode_hdr(torch.ones(3, 2, 9)).replace(b"FORMAT", b"EXPOSURE=2.0\nEXPOSURE=4.0\nFORMAT")
    assert (decode_hdr(data) == 0.125).all()


def test_runs_are_coded():
    assert len(encode_hdr(torch.ones(3, 64, 128))) < 64 * 25


BROKEN = {
    "another file": (b"\x89PNG....", "not a Radiance"),
    "no end of header": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "header does not end"),
    "no size": (HEAD + b"hello\n", "its size is"),
    "upside down": (HEAD + b"+Y 4 +X 4\n" + bytes(64), r"\+Y \+X"),
    "rotated": (HEAD + b"+X 4 -Y 4\n" + bytes(64), r"\+X -Y"),
    "empty": (HEAD + b"-Y 0 +X 4\n", "0x4"),
    "huge": (HEAD + b"-Y 99999999 +X 99999999\n", "99999999"),
    "another colour space": (HEAD.replace(b"rgbe", b"xyze") + b"-Y 1 +X 1\n" + bytes(4), "xyze"),
    "NaN": (HEAD.replace(b"FORMAT", b"EXPOSURE=nan\nFORMAT") + b"-Y 1 +X 1\n" + bytes(4), "EXPOSURE"),
    "zero exposure": (HEAD.replace(b"FORMAT", b"EXPOSURE=0\nFORMAT") + b"-Y 1 +X 1\n" + bytes(4), "EXPOSURE"),
    "a run beyond the row": (HEAD + b"-Y 1 +X 8\n" + bytes((2, 2, 0, 8, 137, 1)) + bytes(40), "row 0"),
    "a count of zero": (HEAD + b"-Y 1 +X 8\n" + bytes((2, 2, 0, 8, 0, 1)) + bytes(40), "row 0"),
    "an old run beyond the row": (HEAD + b"-Y 1 +X 3\n" + bytes((9, 9, 9, 9, 1, 1, 1, 200)), "row 0"),
    "nothing": (b"", "not a Radiance"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(kind, tmp_path):
    data, message = BROKEN[kind]
    path = tmp_path / "broken.hdr"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read_environment(path)
    assert "broken.hdr" in str(error.value)


def test_every_cut_is_noticed():
    whole = encode_hdr(picture(1, 3, 20))
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode_hdr(whole[:length], "cut.hdr")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 2.0**127])
def test_values_that_cannot_be_stored_are_refused(value, tmp_path):
    radiance = torch.ones(3, 4, 8)
    radiance[1, 2, 3] = value
    with pytest.raises(ValueError, match="row 2, column 3"):
        encode_hdr(radiance)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "out.hdr"))):
        write_environment(Environment(radiance), tmp_path / "out.hdr")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="0x5"):
        encode_hdr(torch.ones(3, 0, 5))


def test_environments_are_written_and_read(tmp_path):
    environment = Environment(picture(5, 16, 32))
    write_environment(environment, tmp_path / "sky.hdr")
    back = read_environment(tmp_path / "sky.hdr")
    torch.testing.assert_close(
        back.radiance, environment.radiance, rtol=0, atol=float(environment.radiance.max()) / 256
    )
    with pytest.raises(ValueError, match="overwrite"):
        write_environment(environment, tmp_path / "sky.hdr")
    write_environment(environment, tmp_path / "sky.hdr", overwrite=True)
    with pytest.raises(ValueError, match=r"sky\.hdr"):
        write_environment(environment, tmp_path / "sky.png")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.hdr"):
        read_environment(tmp_path / "gone.hdr")
    (tmp_path / "sky.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"sky\.png"):
        read_environment(tmp_path / "sky.png")
    (tmp_path / "black.hdr").write_bytes(encode_hdr(torch.zeros(3, 4, 8)))
    with pytest.raises(ValueError, match=r"black\.hdr"):
        read_environment(tmp_path / "black.hdr")


def test_exr_files(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    radiance = picture(2, 8, 16)

    def write(pixels, channels, name):
        pixels = {channel: pixels[i].numpy() for i, channel in enumerate(channels)}
        openexr.File({"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}, pixels).write(str(name))

    write(radiance, "RGB", tmp_path / "sky.exr")
    assert torch.equal(read_environment(tmp_path / "sky.exr").radiance, radiance)
    write(radiance[:1], "Y", tmp_path / "grey.exr")
    with pytest.raises(ValueError, match=r"grey\.exr"):
        read_environment(tmp_path / "grey.exr")
    radiance[0, 1, 2] = float("nan")
    write(radiance, "RGB", tmp_path / "broken.exr")
    with pytest.raises(ValueError, match=r"broken\.exr.*row 1, column 2"):
        read_environment(tmp_path / "broken.exr")
    (tmp_path / "text.exr").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.exr"):
        read_environment(tmp_path / "text.exr")


@pytest.mark.parametrize("name", ["apartment", "city", "dawn"])
def test_photographed_environments(shared_data, name, tmp_path):
    environment = read_environment(shared_data / "envs" / f"{name}.hdr")
    assert environment.radiance.shape == (3, 256, 512)
    # they were scaled to a mean luminance of 1
    luminance = (environment.radiance * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0)
    assert abs(float((luminance * environment.solid_angles()).sum() / (4 * np.pi)) - 1) < 0.01
    write_environment(environment, tmp_path / "copy.hdr")
    assert torch.equal(read_environment(tmp_path / "copy.hdr").radiance, environment.radiance)


def test_another_reader_agrees(tmp_path):
    mitsuba = pytest.importorskip("mitsuba")
    mitsuba.set_variant("scalar_rgb")
    environment = Environment(picture(7, 6, 40))
    write_environment(environment, tmp_path / "sky.hdr")
    theirs = np.array(mitsuba.Bitmap(str(tmp_path / "sky.hdr")))[..., :3]
    ours = read_environment(tmp_path / "sky.hdr").radiance.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)
