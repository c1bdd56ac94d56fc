"""What all adaptors share: choosing frames, passing over broken ones, and saying so."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from painted_points import assert_points_seen, blender, orbit, paint, save, to_blender
from strategies import property_settings, seeds

from anyviews.data.adaptors import ADAPTORS, Reading, open_adaptor
from anyviews.data.adaptors.selection import trial_order
from anyviews.data.licences import is_allowed


SIZE, ANGLE = 48, 0.9


def write_scene(folder, count=6, size=SIZE):
    """A scene of Blender's, transforms_train.json."""
    focal = 0.5 * size / np.tan(ANGLE / 2)
    frames = []
    for index, pose in enumerate(orbit(count)):
        image, _ = paint(blender(to_blender(pose), focal, size, size), size, size)
        save(image, folder / "train" / f"r_{index}.png")
        frames.append({"file_path": f"./train/r_{index}", "transform_matrix": to_blender(pose).tolist()})
    content = {"camera_angle_x": ANGLE, "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(content))


def test_broken_frames_are_replaced_and_named(tmp_path):
    write_scene(tmp_path / "chair")
    (tmp_path / "chair" / "train" / "r_1.png").unlink()
    broken = tmp_path / "chair" / "train" / "r_4.png"
    broken.write_bytes(broken.read_bytes()[:100])
    adaptor = open_adaptor("nerfstudio", tmp_path)
    (sample,) = adaptor
    assert sample.views.names == tuple(f"./train/r_{i}" for i in (0, 2, 3, 5))
    assert_points_seen(sample.views)
    assert [problem.frame for problem in adaptor.problems] == ["./train/r_1", "./train/r_4"]
    assert "0 scenes and 2 frames have problems" in adaptor.report()
    assert "r_4.png cannot be" in adaptor.report()

    for seed in range(4):
        (sample,) = open_adaptor("nerfstudio", tmp_path, views_per_sample=4, seed=seed)
        assert sorted(sample.views.names) == sorted(f"./train/r_{i}" for i in (0, 2, 3, 5))


def test_broken_scenes_are_passed_over(tmp_path):
    for name in ("a", "b", "c"):
        write_scene(tmp_path / name, count=3)
    (tmp_path / "a" / "transforms_train.json").write_text("{")
    for path in (tmp_path / "b" / "train").iterdir():
        path.unlink()
    adaptor = open_adaptor("nerfstudio", tmp_path)
    assert [sample.key for sample in adaptor] == ["c"]
    assert {problem.scene for problem in adaptor.problems} == {"a", "b"}
    assert "not valid JSON" in adaptor.report()


def test_nothing_left_is_an_error(tmp_path):
    write_scene(tmp_path / "a", count=3)
    (tmp_path / "a" / "transforms_train.json").write_text("{}")
    with pytest.raises(ValueError, match=r"none of 1 scenes in .* could be read: 1 scenes .*no key 'frames'"):
        list(open_adaptor("nerfstudio", tmp_path))


def test_too_few_frames_leave_a_scene_out(tmp_path):
    write_scene(tmp_path / "a", count=3)
    write_scene(tmp_path / "b", count=6)
    adaptor = open_adaptor("nerfstudio", tmp_path, min_views=4)
    assert [sample.key for sample in adaptor] == ["b"]
    assert "3 of 3 frames can be read, 4 are needed" in adaptor.report()


def test_samples_are_deterministic_and_differ(tmp_path):
    write_scene(tmp_path / "a", count=12)
    options = {"views_per_sample": 3, "samples_per_scene": 4, "selection": "random"}
    first, again = (list(open_adaptor("nerfstudio", tmp_path, seed=5, **options)) for _ in range(2))
    assert [sample.key for sample in first] == ["a-0", "a-1", "a-2", "a-3"]
    assert [s.views.names for s in first] == [s.views.names for s in again]
    assert [s.seed for s in first] == [s.seed for s in again]
    assert len({s.views.names for s in first}) > 1
    other = list(open_adaptor("nerfstudio", tmp_path, seed=6, **options))
    assert [s.views.names for s in other] != [s.views.names for s in first]


def test_size_and_stride(tmp_path):
    write_scene(tmp_path / "a", count=6, size=64)
    (sample,) = open_adaptor("nerfstudio", tmp_path, stride=2, size=(80, 72), licence="cc-by-4.0")
    assert sample.views.images.shape == (3, 3, 80, 72)
    assert (sample.licence, sample.source, sample.scale) == ("cc-by-4.0", "nerfstudio/a", "relative")
    assert_points_seen(sample.views)


def test_frames_of_another_size_are_left_out_or_fitted(tmp_path):
    write_scene(tmp_path / "a", count=4)
    image = torch.rand(60, 60, 3).mul(255).byte().numpy()
    save(image, tmp_path / "a" / "train" / "r_2.png")
    adaptor = open_adaptor("nerfstudio", tmp_path)
    (sample,) = adaptor
    assert len(sample.views) == 3
    assert "it is 60x60 and the others are 48x48" in adaptor.report()
    (sample,) = open_adaptor("nerfstudio", tmp_path, size=(32, 32))
    assert len(sample.views) == 4


@pytest.mark.parametrize("name", sorted(ADAPTORS))
def test_empty_folders_are_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="looked for"):
        list(open_adaptor(name, tmp_path))
    with pytest.raises(FileNotFoundError, match="is not a folder; give the one that holds"):
        open_adaptor(name, tmp_path / "nothing")


def test_wrong_options_are_named(tmp_path):
    with pytest.raises(ValueError, match="no adaptor for 'nuscenes'; accepted are co3d, colmap"):
        open_adaptor("nuscenes", tmp_path)
    with pytest.raises(TypeError, match=r"scannet does not take subset; accepted are licence, min_views"):
        open_adaptor("scannet", tmp_path, subset="fewview_dev")
    with pytest.raises(ValueError, match="stride=0; accepted are 1 and more"):
        Reading(stride=0)
    with pytest.raises(ValueError, match="selection='first'; accepted are spread, window, random"):
        Reading(selection="first")
    with pytest.raises(ValueError, match="samples_per_scene > 1 needs views_per_sample"):
        Reading(samples_per_scene=2)


def test_commercial_use_is_decided_for_every_default_licence():
    allowed = {name for name, adaptor in ADAPTORS.items() if is_allowed(adaptor.licence, "commercial")}
    assert allowed == {"google-scanned-objects"}


@property_settings
@given(
    count=st.integers(1, 60),
    wanted=st.integers(1, 60),
    selection=st.sampled_from(["spread", "window", "random"]),
    seed=seeds,
)
def test_trial_order(count, wanted, selection, seed):
    order = trial_order(count, wanted, selection, seed, "scene")
    assert sorted(order) == list(range(count))
    assert order == trial_order(count, wanted, selection, seed, "scene")
    chosen = order[: min(wanted, count)]
    gaps = np.diff(chosen)
    if selection == "window" and count > wanted:
        assert (gaps == 1).all()
    if selection == "spread" and count > wanted:
        assert ((gaps >= count // wanted) & (gaps <= -(-count // wanted))).all()
