"""Apartments: light by closed forms, free cameras, connected rooms, controlled overlap."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from reprojection import coverage

from anyviews.data.world import WorldViews, render_world
from anyviews.data.world.apartments.cameras import apartment_cameras
from anyviews.data.world.apartments.furnish import Lamp
from anyviews.data.world.apartments.light import reflected
from anyviews.data.world.apartments.materials import MATERIAL_COLUMNS, Material
from anyviews.data.world.apartments.parts import Parts, Place
from anyviews.data.world.apartments.plan import Plan, Room
from anyviews.data.world.apartments.render import render_frames
from anyviews.data.world.apartments.scenes import Apartment, pack, random_apartment
from anyviews.data.world.apartments.tiles import Frames
from anyviews.rendering.shading.ggx import gltf_brdf


SIZE = 24


def scene(parts: Parts, lamps=(), ambient: float = 0.0):
    """A scene of given solids in one room, with equal light from all sides, as tensors."""
    plan = Plan([Room((-50.0, -50.0), (50.0, 50.0))], 50.0)
    packed = pack([Apartment(plan, parts, list(lamps), torch.zeros(3, 4, 8))], "cpu")
    return replace(packed, ambient=torch.full_like(packed.ambient, ambient))


def looking_down(height: float, x: float = 0.0) -> Frames:
    """A camera above the floor whose image's right is +x and whose up is -z."""
    rotation = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]])
    return Frames(torch.zeros(1, dtype=torch.long), torch.tensor([[x, height, 0.0]]), rotation, torch.tensor([0.5]))


def floor_of(material: Material) -> Parts:
    parts = Parts()
    parts.box(Place(0, 0, 0, 0, 0), (0, -0.5, 0), (40, 1, 40), material)
    return parts


def render_down(apartments, height=2.0, x=0.0):
    return render_frames(apartments, looking_down(height, x), SIZE, SIZE, 1, True)


@pytest.mark.parametrize("roughness", [0.1, 0.5, 1.0])
def test_a_white_floor_under_equal_light_gives_it_all_back(roughness):
    fields = render_down(scene(floor_of(Material((1.0, 1.0, 1.0), roughness=roughness)), ambient=0.37))
    torch.testing.assert_close(fields["radiance"], torch.full((1, 3, SIZE, SIZE), 0.37), atol=1e-5, rtol=0)
    assert (fields["base_colors"] > 0.999).all() and torch.allclose(fields["roughness"], torch.tensor(roughness))
    torch.testing.assert_close(fields["depths"], torch.full((1, 1, SIZE, SIZE), 2.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(fields["normals"][0, :, 5, 7], torch.tensor([0.0, 1.0, 0.0]))


def test_a_grey_box_in_space_under_equal_light_is_as_bright_on_all_faces_seen_alike():
    parts = Parts()
    parts.box(Place(0, 0, 0, 0, 0.4), (0, 0, 0), (0.5, 0.5, 0.5), Material((0.5, 0.5, 0.5), roughness=1.0))
    fields = render_down(scene(parts, ambient=1.0))
    hit = fields["masks"][0, 0] > 0
    assert 0.01 < hit.float().mean() < 0.5
    values = fields["radiance"][0, 0][hit]
    # base colour times what is not reflected as gloss, plus the gloss of four hundredths or a little more
    assert values.min() > 0.5 * 0.95 and values.max() < 0.5 + 0.06
    assert (fields["radiance"][0][:, ~hit] == 0).all()


def expected_radiance(color, roughness, metallic, points, camera, lamp, intensity, size):
    """glTF 2.0 Appendix B for a floor (normal +y), point by point in plain Python."""
    values = []
    for x, z in points:
        to_lamp, to_camera = ([a - b for a, b in zip(p, (x, 0.0, z), strict=True)] for p in (lamp, camera))
        distance, range_ = (math.sqrt(sum(c * c for c in v)) for v in (to_lamp, to_camera))
        light, view = [c / distance for c in to_lamp], [c / range_ for c in to_camera]
        half = [a + b for a, b in zip(light, view, strict=True)]
        length = math.sqrt(sum(c * c for c in half))
        n_h, v_h = half[1] / length, sum(a * b for a, b in zip(view, half, strict=True)) / length
        n_l, n_v, squared = light[1], view[1], roughness**4
        distribution = squared / (math.pi * (n_h * n_h * (squared - 1) + 1) ** 2)
        g = n_l * math.sqrt(n_v**2 * (1 - squared) + squared) + n_v * math.sqrt(n_l**2 * (1 - squared) + squared)
        gloss = distribution * 0.5 / g
        dielectric = 0.04 + 0.96 * (1 - v_h) ** 5
        plastic = (1 - dielectric) * color / math.pi + dielectric * gloss
        metal = gloss * (color + (1 - color) * (1 - v_h) ** 5)
        values.append(((1 - metallic) * plastic + metallic * metal) * n_l * intensity / (distance**2 + size**2))
    return torch.tensor(values)


@pytest.mark.parametrize(("roughness", "metallic"), [(0.3, 0.0), (0.9, 0.0), (0.4, 1.0)])
def test_a_floor_under_a_lamp_is_as_gltf_says(roughness, metallic):
    material = Material((0.4, 0.4, 0.4), roughness=roughness, metallic=metallic)
    lamp = Lamp(0, (0.6, 1.5, -0.3), (2.0, 2.0, 2.0), 0.1)
    radiance = render_down(scene(floor_of(material), [lamp]))["radiance"][0, 0]
    # pixels at unit depth span [-0.5, 0.5]; the floor lies 2 m below
    pixels = [(3, 4), (11, 20), (18, 13)]
    points = [(((x + 0.5) / SIZE - 0.5) * 2.0, ((y + 0.5) / SIZE - 0.5) * 2.0) for y, x in pixels]
    expected = expected_radiance(0.4, roughness, metallic, points, (0.0, 2.0, 0.0), lamp.position, 2.0, 0.1)
    torch.testing.assert_close(torch.stack([radiance[p] for p in pixels]), expected, rtol=2e-3, atol=1e-5)


def test_lamps_shine_as_the_plain_formula_says():
    generator = torch.Generator().manual_seed(4)
    directions = F.normalize(torch.randn(3, 64, 3, generator=generator), dim=-1)
    normals, to_camera, to_lamp = (
        directions * torch.where((directions[:1] * directions).sum(-1) < 0, -1.0, 1.0)[..., None]
    )
    colors, surface = torch.rand(64, 3, generator=generator), torch.rand(2, 64, 1, generator=generator)
    roughness, metallic = surface[0].clamp(min=0.1), surface[1]
    facing = (normals * to_camera).sum(-1, keepdim=True)
    expected = gltf_brdf(colors, roughness, metallic, normals, to_camera, to_lamp)
    expected = expected * (normals * to_lamp).sum(-1, keepdim=True)
    separate = [tuple(v.unbind(-1)) for v in (normals, to_camera, to_lamp)]
    found = torch.stack(reflected(list(colors.unbind(-1)), roughness[:, 0], metallic[:, 0], *separate), dim=-1)
    torch.testing.assert_close(found[facing[:, 0] > 0.01], expected[facing[:, 0] > 0.01], rtol=1e-3, atol=1e-5)


def test_a_board_shades_what_lies_under_it_and_its_shadow_ends_softly():
    parts = floor_of(Material((1.0, 1.0, 1.0)))
    open_floor = render_down(scene(parts, [Lamp(0, (0.0, 3.0, 0.0), (9.0,) * 3, 0.3)]))["radiance"][0, 0]
    parts.box(Place(0, 0, 0, 0, 0), (-5.0, 1.0, 0), (10.0, 0.02, 20.0), Material((1.0, 1.0, 1.0)))
    # from below the board: the camera stands at 0.9 m, and its shadow ends at x = 0
    lit = scene(parts, [Lamp(0, (0.0, 3.0, 0.0), (9.0,) * 3, 0.3)])
    shaded = render_down(lit, 0.9)["radiance"][0, 0]
    assert (shaded[:, : SIZE // 2 - 4] == 0).all() and (shaded[:, SIZE // 2 + 6 :] > 0.1).all()
    row = shaded[SIZE // 2, SIZE // 2 - 4 :]
    assert (row[1:] >= row[:-1] - 0.02).all()
    assert open_floor.min() > 0.1
    bare = replace(lit, casts=torch.zeros_like(lit.casts))
    assert (render_down(bare, 0.9)["radiance"] > 0.1).all()


def test_cameras_stand_free_at_eye_height():
    seeds = torch.arange(8)
    made = [random_apartment(seed) for seed in seeds.tolist()]
    apartments = pack(made, "cpu")
    for trajectory in ("walk", "star", "tree"):
        frames, _ = apartment_cameras(seeds, made, apartments, 5, trajectory)
        centers = frames.centers.unflatten(0, (8, 5))
        assert centers[..., 1].min() >= 1.2 and centers[..., 1].max() <= 1.8
        clearance = torch.where(apartments.used[:, None], apartments.solids.clearance(centers), 9.0)
        assert clearance.min() > 0.15
        for apartment, positions in zip(made, centers, strict=True):
            (x0, z0), (x1, z1) = apartment.plan.bounds
            assert (positions[:, 0] > x0).all() and (positions[:, 0] < x1).all()
            assert (positions[:, 2] > z0).all() and (positions[:, 2] < z1).all()


def edge(room: Room, side: int) -> float:
    """Where the wall of a side stands."""
    return (room.low, room.high)[side % 2][side // 2]


@pytest.mark.parametrize("seed", range(8))
def test_every_room_is_reached_through_doors_and_doors_match(seed):
    rooms = random_apartment(seed).plan.rooms
    assert 2 <= len(rooms) <= 5
    reached, front = {0}, [0]
    while front:
        here = rooms[front.pop()]
        for side in range(4):
            for door in here.doors[side]:
                # the room behind this wall has the same opening in its opposite side
                plane = edge(here, side)
                behind = [
                    i
                    for i, room in enumerate(rooms)
                    if door in room.doors[side ^ 1] and abs(edge(room, side ^ 1) - plane) < 1e-6
                ]
                assert len(behind) == 1
                front += [i for i in behind if i not in reached]
                reached.update(behind)
    assert reached == set(range(len(rooms)))


def test_walks_are_smooth_and_lead_through_doors():
    seeds = torch.arange(30, 42)
    made = [random_apartment(seed) for seed in seeds.tolist()]
    frames, _ = apartment_cameras(seeds, made, pack(made, "cpu"), 12, "walk")
    centers, rotations = frames.centers.unflatten(0, (12, 12)), frames.rotations.unflatten(0, (12, 12))
    steps = (centers[:, 1:] - centers[:, :-1]).norm(dim=-1)
    assert steps.max() < 0.8 and steps.median() > 0.05
    turn = (rotations[:, 1:, :, 2] * rotations[:, :-1, :, 2]).sum(-1)
    assert turn.median() > 0.85

    def room_of(apartment, point):
        inside = [
            i
            for i, room in enumerate(apartment.plan.rooms)
            if room.low[0] <= point[0] < room.high[0] and room.low[1] <= point[2] < room.high[1]
        ]
        return inside[0]

    crossed = [len({room_of(a, p) for p in track.tolist()}) > 1 for a, track in zip(made, centers, strict=True)]
    assert sum(crossed) >= 4


@pytest.mark.parametrize("trajectory", ["star", "tree"])
def test_sets_overlap_in_a_controlled_way(trajectory):
    world = render_world(torch.arange(50, 57), 5, 32, 32, "apartment", samples=1, maps=False, trajectory=trajectory)
    largest, second = [], []
    for view in range(1, 5):
        shared = torch.stack([(coverage(world, view, b) + coverage(world, b, view)) / 2 for b in range(view)])
        ranked = shared.sort(0, descending=True).values
        largest.append(ranked[0])
        if view > 1:
            second.append(ranked[1])
    largest, second = torch.stack(largest), torch.stack(second)
    # measured here on other depth maps than those by which they were chosen
    assert ((largest > 0.22) & (largest < 0.8)).float().mean() > 0.85
    if trajectory == "tree":
        assert second.median() < largest.median() - 0.08


@pytest.fixture(scope="module")
def random() -> WorldViews:
    """Apartments in units of their own."""
    return render_world(torch.arange(6), 2, 24, 24, "apartment", samples=1)


def test_units(random):
    metres = render_world(torch.arange(6), 2, 24, 24, "apartment", samples=1, maps=False, metric=True)
    ratio = random.depths.flatten(1).sum(1) / metres.depths.flatten(1).sum(1)
    torch.testing.assert_close(random.cameras.centers, metres.cameras.centers * ratio[:, None, None])
    assert ratio.max() / ratio.min() > 1.5
    assert 1.0 < metres.depths[metres.depths > 0].median() < 5.0


def test_windows_are_brighter_than_white_and_have_no_depth(random):
    sky = (random.masks == 0).expand_as(random.radiance)
    assert sky.any() and random.radiance[sky].max() > 1
    for index in range(len(random)):
        random.environment(index).validate()
    assert (random.base_colors[sky] == 0).all()


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="'run'; accepted are 'any', 'walk', 'star', 'tree'"):
        render_world(torch.arange(1), 2, 8, 8, "apartment", trajectory="run")
    with pytest.raises(TypeError, match="trajectory"):
        render_world(torch.arange(1), 2, 8, 8, "room", trajectory="walk")


def test_columns_of_materials_are_their_numbers():
    material = Material((0.1, 0.2, 0.3), second=(0.4, 0.5, 0.6), roughness=0.7, emission=2.0)
    values = dict(zip(MATERIAL_COLUMNS, material.numbers(), strict=True))
    assert values["first1"] == 0.2 and values["second2"] == 0.6
    assert values["roughness"] == 0.7 and values["emission"] == 2.0
