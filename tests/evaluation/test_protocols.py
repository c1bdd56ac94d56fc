"""Protocols say what they measure, keep their hash, and read the same cases in every run."""

import json
from dataclasses import replace

import pytest
import torch
from evaluation.fake_method import PROTOCOL
from PIL import Image

from anyviews.data.adaptors import ADAPTORS
from anyviews.evaluation.novel_views import held_out_scenes
from anyviews.evaluation.pointmaps import held_out_rooms
from anyviews.evaluation.protocols import METHODS, METRICS, Ranking, Table, find_protocol, protocols_of
from anyviews.evaluation.protocols.sources import Need, Procedural, PublicDataset, spread_split
from anyviews.views import Views


ALL = [protocol for method in METHODS for protocol in protocols_of(method).values()]


@pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: f"{protocol.method}-{protocol.name}")
def test_a_protocol_says_all_there_is_to_say(protocol):
    facts = protocol.facts()
    assert facts == json.loads(json.dumps(facts)) and len(protocol.hash) == 12
    for name in ("mask", "alignment", "resize_filter", "unit", "title"):
        assert getattr(protocol, name)
    assert all(metric in METRICS and protocol.unit_of(metric) for table in protocol.tables for metric in table.metrics)
    if isinstance(protocol.source, PublicDataset):
        assert protocol.source.adaptor in ADAPTORS and "http" in protocol.source.get


def test_the_sets_of_the_papers_are_there():
    assert {"realestate10k", "acid", "scannet-stereo"} <= set(protocols_of("mvgd"))
    assert {"hm3d", "scannet", "mp3d"} <= set(protocols_of("mvdust3r"))
    assert {"gso", "abo", "dtc", "stanford-orb", "pbr-objects"} <= set(protocols_of("lirm"))
    assert "gso" in protocols_of("mvboost")
    assert all("procedural" in protocols_of(method) for method in METHODS)
    assert protocols_of("mvdust3r")["hm3d"].view_counts == (4, 8, 12, 16, 20, 24)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"size": (8, 8)},
        {"mask": "the object"},
        {"context_views": 3},
        {"source": Procedural("room", 3)},
        {"ranking": Ranking("quality", "mean colour", "psnr")},
        {"tables": (Table("quality", "cases of noise", ("psnr",)),)},
    ],
)
def test_what_changes_figures_changes_the_hash(change):
    assert replace(PROTOCOL, **change).hash != PROTOCOL.hash


def test_prose_does_not_change_the_hash():
    table = replace(PROTOCOL.tables[0], heading="otherwise called")
    changed = replace(PROTOCOL, title="Noise", reference="none", tables=(table, *PROTOCOL.tables[1:]))
    assert changed.hash == PROTOCOL.hash


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="unknown metrics sharpness"):
        Table("quality", "cases", ("psnr", "sharpness"))
    with pytest.raises(ValueError, match="ranked by"):
        replace(PROTOCOL, ranking=Ranking("quality", "blur", "ssim"))
    with pytest.raises(ValueError, match=r"no protocol 'gso'; accepted are procedural"):
        find_protocol("mvgd", "gso")
    with pytest.raises(ValueError, match="no table"):
        PROTOCOL.table("joint")


def test_rooms_are_those_that_training_validates_on():
    protocol = find_protocol("mvgd", "procedural")
    need = Need(protocol.most_context_views, protocol.most_target_views, (16, 16))
    names = protocol.source.names(need, 2)
    for name, scene in zip(names, held_out_scenes(2, 16, context_views=8, targets=4), strict=True):
        case = protocol.source.read(name, need)
        assert torch.equal(case.context.images, scene.context.images)
        assert torch.equal(case.targets.images, scene.targets.images)


def test_rooms_of_pointmaps_are_in_metres():
    protocol = find_protocol("mvdust3r", "procedural")
    need = Need(protocol.most_context_views, protocol.most_target_views, (16, 16))
    case = protocol.source.read(protocol.source.names(need, 1)[0], need)
    room = held_out_rooms(1, 16, views=8)[0]
    assert torch.equal(case.context.images, room.images)
    torch.testing.assert_close(case.context.depths, room.depths)
    assert torch.equal(case.targets.images, room.images[4:6])


def test_relit_objects_differ_by_light_alone():
    source = Procedural("object", views=4, targets_from=2, relit=True)
    case = source.read(source.names(Need(2, 2, (16, 16)), 1)[0], Need(2, 2, (16, 16)))
    assert torch.equal(case.relit.depths, case.targets.depths)
    assert torch.equal(case.relit.base_colors, case.targets.base_colors)
    assert torch.equal(case.relit.cameras.camera_to_world, case.targets.cameras.camera_to_world)
    assert (case.relit.images - case.targets.images).abs().mean() > 0.01
    assert not torch.equal(case.relit_environment.radiance, case.environment.radiance)


def test_an_endless_world_needs_a_number():
    with pytest.raises(ValueError, match="--scenes"):
        Procedural("room", 4).names(Need(2, 1, (16, 16)), None)
    with pytest.raises(ValueError, match="views up to number 5"):
        Procedural("room", 4).read("room-0", Need(5, 1, (16, 16)))


def test_targets_lie_between_the_views_given():
    views = Views(torch.arange(9.0)[:, None, None, None].expand(9, 3, 2, 2) / 9)
    context, targets = spread_split(views, Need(2, 1, (2, 2)), "walk")
    assert [context.names, targets.names] == [("view 0", "view 8"), ("view 4",)]
    assert spread_split(views, Need(2, 3, (2, 2)), "walk")[0].names == ("view 0", "view 8")
    context, targets = spread_split(views, Need(4, 2, (2, 2)), "walk")
    assert len(context) == 4 and len(targets) == 2 and not set(context.names) & set(targets.names)
    with pytest.raises(ValueError, match="walk has 9 views; needed are 9 to give and 1 to predict"):
        spread_split(views, Need(9, 1, (2, 2)), "walk")


@pytest.mark.parametrize(
    ("method", "name", "says"),
    [
        ("mvgd", "realestate10k", "adaptor realestate10k.*CC BY 4.0"),
        ("mvdust3r", "scannet", "adaptor scannet.*terms of use"),
        ("lirm", "stanford-orb", "Stanford-ORB: https"),
        ("lirm", "pbr-objects", "--data FOLDER"),
        ("mvgd", "posed", "--data FOLDER"),
    ],
)
def test_missing_data_says_how_to_get_it(method, name, says, tmp_path):
    source = find_protocol(method, name).source
    with pytest.raises(FileNotFoundError, match=says):
        source.names(Need(2, 1, (16, 16)), None)
    with pytest.raises(FileNotFoundError):
        source.names(Need(2, 1, (16, 16), tmp_path), None)


def scanned_object(folder, views):
    """An object as IBRNet's renders have it."""
    for kind in ("rgb", "pose", "intrinsics"):
        (folder / kind).mkdir(parents=True)
    for index in range(views):
        Image.new("RGB", (20, 20), (10 * index, 80, 90)).save(folder / "rgb" / f"{index:03d}.png")
        pose = torch.eye(4)
        pose[0, 3] = index
        (folder / "pose" / f"{index:03d}.txt").write_text(" ".join(map(str, pose.flatten().tolist())))
        intrinsics = torch.diag(torch.tensor([30.0, 30, 1, 1]))
        intrinsics[:2, 2] = 10
        (folder / "intrinsics" / f"{index:03d}.txt").write_text(" ".join(map(str, intrinsics.flatten().tolist())))


def test_a_public_dataset_is_read_through_its_adaptor(tmp_path):
    for name in ("cup", "jar", "pan"):
        scanned_object(tmp_path / name, 12)
    source = find_protocol("lirm", "gso").source
    need = Need(8, 4, (16, 16), tmp_path)
    assert source.names(need, None) == ["cup", "jar", "pan"] and source.names(need, 1) == ["jar"]
    case = source.read("jar", need)
    assert len(case.context) == 8 and len(case.targets) == 4 and case.context.height == 16
    assert len({*case.context.names, *case.targets.names}) == 12
    with pytest.raises(ValueError, match="give --scenes 3 or fewer"):
        source.names(need, 4)
    with pytest.raises(ValueError, match="cup"):
        source.read("cup", Need(20, 4, (16, 16), tmp_path))


def test_real_scenes_and_objects_are_read(shared_data):
    posed = find_protocol("mvgd", "posed").source
    need = Need(4, 1, (16, 16), shared_data)
    assert "icl_livingroom" in posed.names(need, None)
    assert posed.read("icl_livingroom", need).targets.depths is not None
    objects = find_protocol("lirm", "pbr-objects").source
    need = Need(8, 6, (32, 32), shared_data)
    case = objects.read("avocado", need)
    assert objects.names(need, None) == ["avocado", "boombox", "shoe", "toy_car"]
    inside = case.targets.masks > 0.99
    assert len(case.context) == 8 and len(case.targets) == len(case.relit) == 6
    assert case.targets.normals.norm(dim=1)[inside[:, 0]].mean() == pytest.approx(1, abs=0.05)
    assert (case.relit.images - case.targets.images).abs().mean() > 0.01
    torch.testing.assert_close(case.relit.cameras.camera_to_world, case.targets.cameras.camera_to_world)
    assert case.environment is not None and case.relit_environment is not None
