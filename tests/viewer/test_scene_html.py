"""A page shows Gaussians as our renderer does, meshes in their own colours, and changes when controls are moved."""

import json
import re
from dataclasses import replace

import pytest
import torch
from formats.headless_browser import HeadlessBrowser
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians
from strategies import unchecked_shapes
from viewer_scenes import NO_CAMERAS, checks, everything, points, sphere

from anyviews.cli.page import scene_figure, write_page
from anyviews.color import linear_from_srgb, srgb_from_linear
from anyviews.formats.scene_html import write_scene_html
from anyviews.mesh import Material, Mesh
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.image_quality import psnr
from anyviews.rendering.meshes import rasterize
from anyviews.scene import Scene


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with HeadlessBrowser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def shown(browser, page, settings="", width=96, height=72):
    browser.open(page, f"#ui=0{settings}", width, height)
    return browser.screenshot()


def description(page) -> dict:
    return json.loads(re.search(r'<script id="scene"[^>]*>([^<]*)<', page.read_text(encoding="utf-8"))[1])


def test_gaussians_among_everything_else_look_as_rendered(browser, tmp_path):
    scene, page = everything(), tmp_path / "page.html"
    write_scene_html(scene, page, "everything")
    expected = render_gaussians(scene.gaussians, scene.cameras.resize(72, 96), backend="reference").images.clamp(0, 1)
    for index in range(len(scene)):
        found = shown(browser, page, f"&camera={index}&show=gaussians")
        assert found.std() > 0.05
        assert psnr(found[None], expected[[index]]) > 45
    assert browser.complaints == []
    assert {address.split(":")[0] for address in browser.requests} <= {"about", "blob", "file"}


def test_gaussians_behind_a_mesh_are_hidden(browser, tmp_path):
    cameras = orbit_cameras(1, 72, 96)
    mesh = replace(sphere(12), vertices=0.3 * sphere(12).vertices, vertex_colors=torch.ones(325, 3))
    gaussians = random_gaussians(0, 400)
    _, depths = cameras[0].project(gaussians.means)
    nearest, farthest = torch.aminmax(rasterize(mesh, cameras).depths[rasterize(mesh, cameras).depths > 0])
    centre = (slice(None), slice(33, 39), slice(45, 51))
    for chosen, hidden in ((depths > farthest + 0.4, True), (depths < nearest - 0.1, False)):
        page = tmp_path / f"{hidden}.html"
        write_scene_html(Scene(cameras, gaussians=gaussians.select(chosen), mesh=mesh), page)
        found = shown(browser, page, "&camera=0&show=gaussians,mesh&lit=0")
        assert (found[centre].min() > 0.95) == hidden
        assert shown(browser, page, "&camera=0&show=gaussians")[centre].mean() > 0.05


@pytest.mark.parametrize("material", [None, "checks"])
def test_unlit_mesh_has_its_own_colours(browser, tmp_path, material):
    cameras, mesh = orbit_cameras(1, 96, 96), sphere()
    if material:
        mesh = replace(mesh, material=checks())
    else:
        mesh = replace(mesh, vertex_colors=(mesh.vertices + 1) / 2)
    write_scene_html(Scene(cameras, mesh=mesh), tmp_path / "page.html")
    found = shown(browser, tmp_path / "page.html", "&camera=0&lit=0", 96, 96)
    fragments = rasterize(mesh, cameras)
    covered = fragments.faces[0] >= 0
    if material:
        u, v = fragments.interpolate(mesh.texture_coordinates, mesh).T
        place = torch.stack([u, v], dim=-1)[None, None] * 2 - 1
        linear = linear_from_srgb(mesh.material.base_color)[None]
        colors = torch.nn.functional.grid_sample(linear, place, align_corners=False)[0, :, 0]
    else:
        colors = fragments.interpolate(linear_from_srgb(mesh.vertex_colors), mesh).T
    expected = torch.zeros(3, 96, 96)
    expected[:, covered] = srgb_from_linear(colors)
    inside = (-torch.nn.functional.max_pool2d(-covered[None].float(), 5, 1, 2))[0] > 0
    assert inside.sum() > 1000
    # smoothing at the borders of checks and of the sphere is ours alone
    assert (found - expected).abs().amax(0)[inside].median() < 0.01
    assert psnr(found[None], expected[None]) > 20
    assert browser.complaints == []


def test_light_depends_on_roughness_metal_and_normals(browser, tmp_path):
    cameras, pictures = orbit_cameras(1, 64, 64), {}

    def uniform(value):
        return torch.full((1, 1, 1), value)

    white = torch.full((3, 1, 1), 0.8)
    for name, material in {
        "rough": Material(white, uniform(1.0), uniform(0.0)),
        "smooth": Material(white, uniform(0.2), uniform(0.0)),
        "metal": Material(white, uniform(0.2), uniform(1.0)),
    }.items():
        write_scene_html(Scene(cameras, mesh=replace(sphere(), material=material)), tmp_path / f"{name}.html")
        pictures[name] = shown(browser, tmp_path / f"{name}.html", "&camera=0", 64, 64)
    assert pictures["smooth"].max() > pictures["rough"].max() + 0.02
    assert pictures["metal"].mean() < pictures["rough"].mean()
    assert (pictures["metal"] - pictures["smooth"]).abs().mean() > 0.02


@pytest.mark.parametrize(("axis", "tilt"), [(0, 0.4), (0, -0.4), (1, 0.4), (1, -0.4)])
def test_normal_map_turns_the_light_as_turned_normals_do(browser, tmp_path, axis, tilt):
    corners = torch.tensor([[-1.0, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]])
    places = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])  # v down from the top row
    faces = torch.tensor([[0, 3, 2], [0, 2, 1]])
    tangent = torch.zeros(3)
    tangent[axis], tangent[2] = tilt, 1.0
    tangent = tangent / tangent.norm()
    flat = torch.tensor([0.0, 0, 1]).expand(4, 3)
    one = torch.ones(1, 1, 1)
    material = Material(torch.full((3, 1, 1), 0.7), 0.6 * one, 0 * one)
    mapped = Mesh(
        corners, faces, None, flat, places, replace(material, normals=tangent[:, None, None].expand(3, 2, 2))
    )
    # tangent space is x along u, y against v: here the axes of the world
    turned = Mesh(corners, faces, None, tangent.expand(4, 3), places, material)
    pictures = []
    for name, mesh in (("mapped", mapped), ("turned", turned), ("flat", replace(turned, vertex_normals=flat))):
        write_scene_html(Scene(NO_CAMERAS, mesh=mesh), tmp_path / f"{name}.html")
        pictures.append(shown(browser, tmp_path / f"{name}.html", "", 64, 64))
    assert (pictures[0] - pictures[1]).abs().max() < 0.02
    assert (pictures[2] - pictures[1]).abs().max() > 0.03


def test_surest_points_stay_longest(browser, tmp_path):
    write_scene_html(Scene(orbit_cameras(1, 64, 64), points=points()), tmp_path / "page.html")
    all_points, sure, few = (
        shown(browser, tmp_path / "page.html", f"&camera=0&surest={share}", 64, 64) for share in (1, 0.5, 0.1)
    )
    assert all_points[2].sum() > 10 and sure[2].sum() == 0  # the blue ones are not sure
    assert 0 < few.sum() < sure.sum()
    assert shown(browser, tmp_path / "page.html", "&camera=0&surest=0", 64, 64).sum() == 0


def test_controls_change_what_is_seen(browser, tmp_path):
    scene = everything()
    write_scene_html([replace(scene, gaussians=None), scene], tmp_path / "page.html", step_names=("before", "after"))
    browser.open(tmp_path / "page.html", "", 640, 480)

    def labels():
        found = (
            "[...document.querySelectorAll('#controls label')].filter((l) => l.offsetParent).map((l) => l.innerText)"
        )
        return " ".join(browser.run(found))

    assert all(
        word in labels() for word in ("Size", "Surest", "Step", "Gaussians", "Mesh", "Points", "Light", "Depth")
    )
    view = "const e = document.getElementById({id}); e.{property} = {value}; e.dispatchEvent(new Event({event}))"

    def change(name, property, value, event):
        before = browser.screenshot()
        expression = view.format(id=repr(name), property=property, value=json.dumps(value), event=repr(event))
        browser.run(f"(() => {{ {expression} }})()")
        browser.wait_for("document.documentElement.dataset.state === 'settled'")
        after = browser.screenshot()
        # without the panels, whose switches change as well
        return float((after - before).abs()[:, 80:340].max())

    assert change("step", "value", "0", "input") > 0.1
    assert browser.run("document.getElementById('step-name').textContent") == "before"
    assert change("step", "value", "1", "input") > 0.1
    assert change("size", "value", "0.3", "input") > 0.1
    for name, checked in (("mesh", False), ("points", False), ("gaussians", False), ("mesh", True), ("lit", False),
                          ("mesh", False), ("points", True)):  # fmt: skip
        assert change(name, "checked", checked, "change") > 0.05, (name, checked)
    assert change("surest", "value", "0.2", "input") > 0.1
    change("points", "checked", False, "change")
    assert change("frusta", "checked", False, "change") > 0.1
    assert change("frusta", "checked", True, "change") > 0.1
    assert change("depth", "checked", True, "change") > 0.05
    assert browser.complaints == []


def test_given_cameras_show_the_scene_without_pyramids(browser, tmp_path):
    scene = replace(everything(), gaussians=None, mesh=None)
    write_scene_html(scene, tmp_path / "page.html")
    free = shown(browser, tmp_path / "page.html", "&show=points")
    exact = shown(browser, tmp_path / "page.html", "&show=points&camera=0")
    assert (free - exact).abs().max() > 0.1
    without = shown(browser, tmp_path / "page.html", "&show=points&frusta=0")
    torch.testing.assert_close(exact, without, atol=0.02, rtol=0)


def test_photos_with_cameras_alone_are_shown(browser, tmp_path):
    scene = everything()
    write_scene_html(Scene(scene.cameras, scene.images), tmp_path / "page.html")
    assert shown(browser, tmp_path / "page.html").std() > 0.02
    assert browser.complaints == []


def test_what_is_left_out_is_said(tmp_path):
    scene = everything()
    with (
        pytest.warns(UserWarning, match="100 most visible of 300 Gaussians"),
        pytest.warns(UserWarning, match="1,000 of 3,000"),
    ):
        write_scene_html(scene, tmp_path / "page.html", max_gaussians=100, max_points=1000)
    assert description(tmp_path / "page.html")["notices"] == [
        "These are the 100 most visible of 300 Gaussians.",
        "These are 1,000 of 3,000 points, chosen at random.",
    ]


def test_what_cannot_be_shown_is_named(tmp_path):
    page, empty = tmp_path / "page.html", Scene(NO_CAMERAS)
    with pytest.raises(ValueError, match="the scene is empty"):
        write_scene_html(empty, page)
    with pytest.raises(ValueError, match="there are no scenes"):
        write_scene_html([], page)
    with pytest.raises(ValueError, match="2 step_names for 1 scenes"):
        write_scene_html(everything(), page, step_names=("a", "b"))
    with pytest.raises(ValueError, match="max_points is 0"), unchecked_shapes():
        write_scene_html(everything(), page, max_points=0)
    nan = replace(points(), positions=points().positions * torch.nan)
    with pytest.raises(ValueError, match="points hold NaN"):
        write_scene_html(Scene(NO_CAMERAS, points=nan), page)
    assert not list(tmp_path.iterdir())
    write_scene_html(Scene(NO_CAMERAS, points=points()), page)
    with pytest.raises(ValueError, match="exists already"):
        write_scene_html(everything(), page)


def test_a_scene_inside_the_page_of_a_run_can_be_turned(browser, tmp_path):
    result = {"command": "anyviews run", "versions": {}, "device": "cpu", "seconds": 1.0, "warnings": []}
    figure = scene_figure([replace(everything(), gaussians=None), everything()], "A <scene>", ("a", "b"))
    write_page(tmp_path / "index.html", "run", result, [figure])
    browser.resize(700, 500)
    browser.send("Page.navigate", url=(tmp_path / "index.html").as_uri())
    inside = "document.querySelector('iframe')?.contentDocument?.documentElement?.dataset.state"
    browser.wait_for(f"{inside} === 'settled'")
    assert browser.screenshot().std() > 0.1
    assert browser.run("document.querySelector('figcaption').textContent") == "A <scene>"
    assert browser.complaints == []
    assert {address.split(":")[0] for address in browser.requests} <= {"about", "blob", "file"}
