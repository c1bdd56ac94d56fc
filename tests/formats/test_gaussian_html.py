"""The page holds the Gaussians, and a browser shows with it what our own renderer renders."""

import base64
import json
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from headless_browser import NO_WEBGL, HeadlessBrowser
from hypothesis import given
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians
from strategies import property_settings, seeds, unchecked_shapes
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.formats.gaussian_html import write_gaussian_html
from anyviews.gaussians import Gaussians
from anyviews.geometry.quaternions import matrix_to_quaternion, quaternion_to_matrix
from anyviews.rendering.gaussians import render_gaussians


GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "lgm" / "ply.safetensors"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with HeadlessBrowser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(tmp_path) -> Path:
    """A page of 400 Gaussians of degree 3 with three cameras of 96 x 128 pixels."""
    write_gaussian_html(random_gaussians(0, 400, degree=3), tmp_path / "page.html", orbit_cameras(3, 96, 128))
    return tmp_path / "page.html"


def torus(count: int) -> Gaussians:
    """Flat Gaussians on a chequered torus."""
    generator = torch.Generator().manual_seed(0)
    u, v = 2 * math.pi * torch.rand(2, count, generator=generator)
    zero = torch.zeros(count)
    outwards = torch.stack([u.cos() * v.cos(), v.sin(), u.sin() * v.cos()], dim=-1)
    along = torch.stack([-u.sin(), zero, u.cos()], dim=-1)
    axes = torch.stack([along, torch.linalg.cross(outwards, along), outwards], dim=-1)
    scales = torch.tensor([1.2, 0.8, 0.08]) * math.sqrt(math.pi / count)
    checks = ((6 * u / math.pi).floor() + (4 * v / math.pi).floor())[:, None] % 2
    colors = checks * torch.stack([0.5 + 0.4 * u.cos(), 0.5 + 0.4 * v.sin(), 0.5 - 0.4 * u.sin()], dim=-1)
    means = 0.6 * torch.stack([u.cos(), zero, u.sin()], dim=-1) + 0.25 * outwards
    opacities = 0.3 + 0.7 * torch.rand(count, generator=generator)
    return Gaussians.from_colors(means, matrix_to_quaternion(axes), scales.expand(count, 3), opacities, colors)


def rendered(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    return render_gaussians(gaussians, cameras, backend="reference").images.clamp(0, 1)


def psnr(image: Tensor, other: Tensor) -> float:
    return float(-10 * (image - other).square().mean().log10())


def parts(path: Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """The scene's description, words of 16 bits [N, 16] and bytes of harmonics that a page holds."""
    found = dict(re.findall(r'<script id="(\w+)" type="[\w/-]+">([^<]*)</script>', path.read_text(encoding="utf-8")))
    scene = json.loads(found["scene"])
    part = scene["steps"][0]["gaussians"]
    records, harmonics = (base64.b64decode(found[part["blocks"][name]]) for name in ("records", "harmonics"))
    return {**scene, **part}, np.frombuffer(records, "<u2").reshape(-1, 16), np.frombuffer(harmonics, "u1")


def read_page(path: Path) -> Gaussians:
    """The Gaussians of a page, about their own origin, read independently of the writer."""
    scene, words, harmonics = parts(path)
    means = words[:, :6].copy().view("<f4")
    low, high = scene["logScales"]
    scales = np.exp(low + (high - low) * words[:, 6:9] / 65535)
    parameters = words[:, 10:13].view("<i2") / 32767
    square = (parameters**2).sum(1, keepdims=True)
    rotations = np.concatenate([1 - square, 2 * parameters], axis=1) / (1 + square)
    colors = words[:, 13:16].copy().view("<f2").astype("f4")
    gaussians = Gaussians.from_colors(
        *(torch.from_numpy(np.ascontiguousarray(values, "f4")) for values in (means, rotations, scales)),
        torch.from_numpy((words[:, 9] / 65535).astype("f4")),
        torch.from_numpy(colors),
    ).with_degree(scene["degree"])
    signed = torch.from_numpy((harmonics.reshape(len(words), -1, 3).astype("f4") - 128) / 127)
    for degree, limit in enumerate(scene["harmonicLimits"], start=1):
        band = signed[:, degree**2 - 1 : (degree + 1) ** 2 - 1]
        gaussians.spherical_harmonics[:, degree**2 : (degree + 1) ** 2] = limit * band * band.abs()
    return gaussians


@property_settings
@given(seeds)
def test_page_holds_the_gaussians(tmp_path_factory, seed):
    given = random_gaussians(seed, 40, degree=seed % 4, dtype=torch.float64)
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_gaussian_html(given, path)
    found = read_page(path)
    center = given.means.median(0).values
    torch.testing.assert_close(found.means.double(), given.means - center, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.scales.double(), given.scales, atol=0, rtol=1e-4)
    torch.testing.assert_close(found.opacities.double(), given.opacities, atol=1e-5, rtol=0)
    turns = quaternion_to_matrix(found.rotations.double())
    torch.testing.assert_close(turns, quaternion_to_matrix(given.rotations), atol=2e-4, rtol=0)
    torch.testing.assert_close(found.colors.double(), given.colors, atol=5e-4, rtol=0)
    higher = (found.spherical_harmonics - given.spherical_harmonics)[:, 1:]
    assert not higher.numel() or higher.abs().max() < 5e-4


def test_flat_far_and_half_precision_gaussians_are_held(tmp_path):
    given = random_gaussians(3, 50, dtype=torch.float64)
    flat = given.scales.clone()
    flat[::2, 1] = 0
    moved = replace(given, means=given.means + 1e7, scales=flat)
    write_gaussian_html(moved, tmp_path / "far.html")
    found = read_page(tmp_path / "far.html")
    assert (found.means.double() - (moved.means - moved.means.median(0).values)).abs().max() < 1e-6
    assert found.scales[::2, 1].max() < 1e-30
    torch.testing.assert_close(found.scales[:, 0].double(), flat[:, 0], atol=0, rtol=1e-3)
    write_gaussian_html(given.to(dtype=torch.float16), tmp_path / "half.html")
    assert len(read_page(tmp_path / "half.html")) == 50


def test_size_of_the_page(tmp_path):
    write_gaussian_html(torus(65536), tmp_path / "torus.html", title="torus")
    assert (tmp_path / "torus.html").stat().st_size < 3_000_000


def test_large_sets_keep_what_is_seen_most(tmp_path):
    given = random_gaussians(0, 100)
    seldom = torch.arange(100) % 2
    faint = replace(given, opacities=0.9 - 0.8 * seldom, scales=torch.full((100, 3), 0.1))
    with pytest.warns(UserWarning, match="50 most visible of 100 Gaussians; give max_gaussians=100"):
        write_gaussian_html(faint, tmp_path / "page.html", max_gaussians=50)
    assert parts(tmp_path / "page.html")[0]["notices"] == ["These are the 50 most visible of 100 Gaussians."]
    found = read_page(tmp_path / "page.html")
    torch.testing.assert_close(found.opacities, torch.full((50,), 0.9), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.colors, given.colors[::2], atol=5e-4, rtol=0)  # in their order
    small = replace(
        given, scales=torch.where(seldom == 1, 0.01, 0.1)[:, None].expand(100, 3), opacities=torch.full((100,), 0.5)
    )
    with pytest.warns(UserWarning, match="most visible"):
        write_gaussian_html(small, tmp_path / "small.html", max_gaussians=50)
    assert read_page(tmp_path / "small.html").scales.min() > 0.09


def test_invisible_gaussians_are_left_out_without_a_warning(tmp_path):
    given = random_gaussians(0, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half = replace(given, opacities=given.opacities * (torch.arange(100) % 2))
        write_gaussian_html(half, tmp_path / "page.html")
    assert len(read_page(tmp_path / "page.html")) == 50
    with pytest.raises(ValueError, match="none of 100 Gaussians has an opacity"):
        write_gaussian_html(replace(given, opacities=given.opacities * 0), tmp_path / "none.html")


def test_unusable_input_is_named(tmp_path):
    good, cameras, path = random_gaussians(0, 5), orbit_cameras(2), tmp_path / "page.html"
    with pytest.raises(ValueError, match="the set of Gaussians is empty"):
        write_gaussian_html(good.select(torch.zeros(5, dtype=torch.bool)), path)
    with pytest.raises(ValueError, match="means of the Gaussians hold NaN"):
        write_gaussian_html(replace(good, means=good.means * math.nan), path)
    with pytest.raises(ValueError, match=r"batch shape is \(1,\)"), unchecked_shapes():
        batch = [getattr(good, name)[None] for name in Gaussians.__dataclass_fields__]
        write_gaussian_html(Gaussians(*batch), path)
    with pytest.raises(ValueError, match=r"cameras have batch shape \(1, 2\)"):
        write_gaussian_html(good, path, cameras[None])
    with pytest.raises(ValueError, match="intrinsics hold NaN"):
        write_gaussian_html(good, path, replace(cameras, intrinsics=cameras.intrinsics * math.nan))
    with pytest.raises(ValueError, match="max_gaussians is 0"), unchecked_shapes():
        write_gaussian_html(good, path, max_gaussians=0)
    assert not list(tmp_path.iterdir())
    write_gaussian_html(good, path, cameras[:0])
    with pytest.raises(ValueError, match="exists already"):
        write_gaussian_html(good, path)


def test_up_follows_the_cameras(tmp_path):
    cameras = orbit_cameras(4, dtype=torch.float64)
    write_gaussian_html(random_gaussians(0, 5), tmp_path / "page.html", cameras)
    assert np.allclose(parts(tmp_path / "page.html")[0]["up"], [0, -1, 0], atol=1e-3)
    around = torch.eye(4).repeat(2, 1, 1)
    around[1, :2, :2] *= -1  # the second camera is upside down
    disagreeing = replace(cameras[:2], camera_to_world=around.double())
    write_gaussian_html(random_gaussians(0, 5), tmp_path / "other.html", disagreeing)
    assert parts(tmp_path / "other.html")[0]["up"] == [0, -1, 0]


def test_page_shows_what_our_renderer_renders(browser, tmp_path):
    gaussians, cameras = random_gaussians(0, 1000, degree=3), orbit_cameras(2, 72, 96, skew=3.0)
    gaussians.spherical_harmonics[:, 1:] *= 6
    gaussians.opacities[::4] = 1
    write_gaussian_html(gaussians, tmp_path / "page.html", cameras, title='<b> & "quotes" </title>')
    for index, expected in enumerate(rendered(gaussians, cameras)):
        browser.open(tmp_path / "page.html", f"#camera={index}&ui=0", 96, 72)
        shown = browser.screenshot()
        assert shown.std() > 0.1
        assert psnr(shown, expected) > 55
    assert browser.run("document.title") == '<b> & "quotes" </title>'
    assert browser.run("document.querySelector('h1').textContent") == '<b> & "quotes" </title>'
    assert browser.complaints == []
    assert {address.split(":")[0] for address in browser.requests} <= {"about", "blob", "file"}


def test_each_harmonic(browser, tmp_path):
    x, y = torch.meshgrid(torch.linspace(-0.8, 0.8, 5), torch.linspace(-0.5, 0.5, 3), indexing="ij")
    means = torch.stack([x, y, 0.5 * x + y], dim=-1).flatten(0, 1)
    gray = random_gaussians(0, 15)
    gaussians = Gaussians.from_colors(
        means, gray.rotations, torch.full((15, 3), 0.08), torch.ones(15), torch.full((15, 3), 0.5)
    ).with_degree(3)
    gaussians.spherical_harmonics[:, 1:] = torch.eye(15)[..., None]
    cameras = orbit_cameras(6, 36, 48)
    write_gaussian_html(gaussians, tmp_path / "page.html", cameras)
    for index, expected in enumerate(rendered(gaussians, cameras)):
        browser.open(tmp_path / "page.html", f"#camera={index}&ui=0", 48, 36)
        assert (browser.screenshot() - expected).abs().max() < 0.01


def test_many_flat_gaussians(browser, tmp_path):
    gaussians, cameras = torus(20_000), orbit_cameras(2, 36, 48)[1:]
    write_gaussian_html(gaussians, tmp_path / "page.html", cameras)
    browser.open(tmp_path / "page.html", "#camera=0&ui=0", 48, 36)
    assert psnr(browser.screenshot(), rendered(gaussians, cameras)[0]) > 45


def test_golden_gaussians(browser, tmp_path):
    if not GOLDEN.is_file():
        pytest.skip(f"needs the golden values in {GOLDEN.parent}")
    from safetensors.torch import load_file

    means, opacities, scales, rotations, colors = load_file(GOLDEN)["gaussians"][0].split([3, 1, 3, 4, 3], dim=-1)
    gaussians, cameras = (
        Gaussians.from_colors(means, rotations, scales, opacities[:, 0], colors),
        orbit_cameras(1, 96, 96),
    )
    write_gaussian_html(gaussians, tmp_path / "page.html", cameras)
    browser.open(tmp_path / "page.html", "#camera=0&ui=0", 96, 96)
    assert psnr(browser.screenshot(), rendered(gaussians, cameras)[0]) > 45


def test_given_camera_is_shown_in_its_own_aspect_ratio(browser, page):
    browser.open(page, "#camera=1&ui=0&background=white", 240, 96)
    shown = browser.screenshot()
    expected = render_gaussians(
        random_gaussians(0, 400, degree=3), orbit_cameras(3, 96, 128)[1:2], "reference", torch.ones(3)
    )
    assert psnr(shown[:, :, 56:184], expected.images[0]) > 50
    assert shown[:, :, :56].max() < 0.9  # the bars
    assert shown[:, :, 184:].max() < 0.9
    browser.open(page, "#camera=1&ui=0", 64, 90)  # half as large
    half = rendered(random_gaussians(0, 400, degree=3), orbit_cameras(3, 96, 128)[1:2].resize(48, 64))[0]
    assert psnr(browser.screenshot()[:, 21:69], half) > 50


def test_sorting_without_a_worker(browser, page):
    browser.open(page, "#camera=2&ui=0", 128, 96)
    expected = browser.screenshot()
    for without in ("delete window.Worker", "window.Worker = function () { setTimeout(() => this.onerror(), 200); "
                    "this.postMessage = () => {}; }"):  # fmt: skip
        script = browser.send("Page.addScriptToEvaluateOnNewDocument", source=without)["identifier"]
        browser.open(page, "#camera=2&ui=0", 128, 96)
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        assert torch.equal(browser.screenshot(), expected)


def test_controls(browser, page):
    browser.open(page, "", 480, 320)
    settled = "document.documentElement.dataset.state === 'settled'"
    shots = [browser.screenshot()]

    def changed(*actions) -> bool:
        """Whether the picture around the middle differs from all before it."""
        for method, values in actions:
            browser.send(f"Input.{method}", **values)
        browser.wait_for(settled)
        shots.append(browser.screenshot())
        return all(psnr(shots[-1][:, 80:240], other[:, 80:240]) < 50 for other in shots[:-1])

    def mouse(kind: str, x: int, y: int, **values):
        return "dispatchMouseEvent", {"type": kind, "x": x, "y": y, "clickCount": 1, **values}

    def drag(right: int, down: int, **button):
        end = 240 + right, 120 + down
        return [
            mouse("mousePressed", 240, 120, **button),
            mouse("mouseMoved", *end, **button),
            mouse("mouseReleased", *end, button=button["button"]),
        ]

    def key(name: str):
        return [("dispatchKeyEvent", {"type": kind, "key": name}) for kind in ("keyDown", "keyUp")]

    def fingers(kind: str, *points):
        return "dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y, "id": x0} for x0, x, y in points]}

    assert changed(*drag(60, 0, button="left", buttons=1))
    assert changed(*drag(0, 30, button="left", buttons=1))
    assert browser.run("document.getElementById('camera').value") == "-1"
    assert changed(*drag(60, 0, button="right", buttons=2))
    assert changed(*drag(0, 30, button="right", buttons=2))
    assert changed(mouse("mouseWheel", 240, 120, deltaX=0, deltaY=-300))
    assert changed(fingers("touchStart", (1, 200, 150), (2, 280, 150)), fingers("touchMove", (1, 160, 150),
                   (2, 320, 150)), fingers("touchEnd"))  # fmt: skip
    assert changed(*key("b"))
    assert changed(*key("c"))
    assert changed(*key("n"))
    assert browser.run("document.getElementById('camera').value") == "0"
    assert changed(*key("n"))
    changed(*key("c"), *key("b"), *key("b"), *key("r"))
    assert torch.equal(shots[-1][:, 80:240, 4:-4], shots[0][:, 80:240, 4:-4])  # without the ring around what has focus
    assert browser.complaints == []


def test_unknown_settings_in_the_address_are_named(browser, page):
    browser.open(page, "#camera=3&background=toString&size=0&up=-y&other=1")
    notice = browser.run("document.getElementById('notice').textContent")
    assert all(f"asks for {setting}" in notice for setting in (
        "camera=3", "background=toString", "size=0", "up=-y", "other=1"))  # fmt: skip
    browser.run("location.hash = 'camera=1'")
    browser.wait_for("document.documentElement.dataset.state === 'settled'")
    assert browser.run("document.getElementById('notice').hidden")
    assert browser.run("document.getElementById('camera').value") == "1"


def test_without_cameras_the_axis_that_points_up_can_be_chosen(browser, tmp_path):
    one = random_gaussians(0, 2)
    means = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the second one is red and above, where +z is up
    gaussians = Gaussians.from_colors(
        means, one.rotations, torch.full((2, 3), 0.1), torch.ones(2), torch.eye(3)[[2, 0]]
    )
    write_gaussian_html(gaussians, tmp_path / "page.html")
    for up, red_above in (("+z", True), ("-z", False)):
        browser.open(tmp_path / "page.html", f"#up={up}&ui=0", 200, 200)
        red, _, blue = browser.screenshot()
        rows = torch.arange(200.0)[:, None]
        assert ((red * rows).sum() / red.sum() < (blue * rows).sum() / blue.sum()) == red_above


def test_browsers_without_webgl2_are_told(tmp_path, page):
    with HeadlessBrowser(tmp_path / "profile", NO_WEBGL) as browser:
        browser.open(page, state="failed")
        assert "no WebGL2" in browser.run("document.getElementById('message').textContent")
        assert not browser.run("document.getElementById('message').hidden")
