"""The live viewer holds what the scene has, and its controls change what is seen."""

import urllib.request
from dataclasses import replace

import pytest
from viewer_scenes import NO_CAMERAS, everything, points

from anyviews.formats.shown_scene import show_scenes
from anyviews.scene import Scene


viser = pytest.importorskip("viser", reason="needs viser (the extra viewer)")

from anyviews.viewer.live import LiveViewer  # noqa: E402


@pytest.fixture(scope="module")
def server():
    server = viser.ViserServer(host="127.0.0.1", port=8600, verbose=False)
    yield server
    server.stop()


def view(server, *scenes: Scene) -> LiveViewer:
    server.scene.reset()
    server.gui.reset()
    shown = show_scenes(scenes, 10**6, 10**6, "test")
    return LiveViewer(server, shown, tuple(f"number {i}" for i in range(len(scenes))))


def visible(viewer: LiveViewer) -> set:
    return {key for key, node in viewer.nodes.items() if key != "cameras" and node.visible}


def test_the_page_is_served_on_this_machine_alone(server):
    assert server.get_host() == "127.0.0.1"
    with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=20) as answer:
        assert answer.status == 200 and b"<html" in answer.read()


def test_everything_is_there_and_can_be_switched(server):
    scene = everything()
    viewer = view(server, replace(scene, gaussians=None), scene)
    assert set(viewer.nodes) == {
        (0, "mesh"), (0, "points"), (1, "gaussians"), (1, "mesh"), (1, "points"), "cameras",
    }  # fmt: skip
    assert len(viewer.nodes["cameras"]) == 3
    assert visible(viewer) == {(1, "gaussians"), (1, "mesh"), (1, "points")}
    viewer.controls["mesh"].value = False
    assert visible(viewer) == {(1, "gaussians"), (1, "points")}
    viewer.controls["step"].value = 0
    assert visible(viewer) == {(0, "points")} and viewer.controls["step name"].content == "number 0"
    viewer.controls["cameras"].value = False
    assert not any(node.visible for node in viewer.nodes["cameras"])
    photo = viewer.nodes["cameras"][0].image
    viewer.controls["depth"].value = True
    depth = viewer.nodes["cameras"][0].image
    assert (depth[..., 0] == depth[..., 1]).all() and not (photo[..., 0] == photo[..., 1]).all()


def test_surest_points_stay(server):
    viewer = view(server, Scene(NO_CAMERAS, points=points(1000)))
    assert "cameras" not in viewer.nodes and "step" not in viewer.controls
    node = viewer.nodes[0, "points"]
    assert len(node.points) == 1000
    size = node.point_size
    viewer.controls["surest"].value = 0.2
    node = viewer.nodes[0, "points"]
    assert len(node.points) == 200 and (node.colors[:, 0] == 255).all()
    viewer.controls["size"].value = 2.0
    assert viewer.nodes[0, "points"].point_size == pytest.approx(2 * size)


def test_what_is_left_out_is_said(server):
    server.gui.reset()
    with pytest.warns(UserWarning, match="10 of 1,000 points"):
        shown = show_scenes([Scene(NO_CAMERAS, points=points(1000))], 10, 10, "test")
    viewer = LiveViewer(server, shown, ("",))
    assert len(viewer.nodes[0, "points"].points) == 10
