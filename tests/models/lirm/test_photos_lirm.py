"""What photos show at points: silhouettes against analytic ones, colours where they come from, and the model's use."""

import pytest
import scipy.ndimage
import torch
from small_lirm import small_model

from anyviews.cameras import Cameras
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.lirm import LIRMConfig, LIRMPlanes, LIRMState, deferred_loss, occupancy_lirm
from anyviews.models.lirm.photos_lirm import find_cover, outline_distances, read_photos, spread


BALL = 0.3
RADIUS = 0.5


def cameras_around(count: int, size: int = 64) -> Cameras:
    angles = torch.arange(count) * 2 * torch.pi / count
    centers = torch.stack([angles.sin(), angles.cos() * 0.4, angles.cos()], dim=-1) * 2
    intrinsics = torch.tensor([[1.5 * size, 0, size / 2], [0, 1.5 * size, size / 2], [0, 0, 1]]).expand(count, 3, 3)
    return look_at(centers, torch.zeros(3), torch.tensor([0.0, 1, 0]), intrinsics, size, size)


def rays_of(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and directions [1, V, 3, H, W]."""
    pixels = pixel_centers(cameras.height, cameras.width).flatten(0, 1).expand(len(cameras), -1, 2)
    maps = [part.mT.unflatten(-1, (cameras.height, cameras.width))[None] for part in camera_rays(cameras, pixels)]
    return maps[0], maps[1]


def ball_photos(count: int, size: int = 64, color=(0.2, 0.6, 0.4)) -> dict[str, torch.Tensor]:
    """Photos of a ball in one colour before a darker grey, as the model reads them."""
    origins, directions = rays_of(cameras_around(count, size))
    along = (origins * directions).sum(2, keepdim=True)
    inside = along.square() - origins.square().sum(2, keepdim=True) + BALL**2 > 0
    colors = torch.tensor(color).view(3, 1, 1)
    images, backgrounds = torch.where(inside, colors, 1.0), torch.where(inside, colors, 0.3)
    return {
        "images": 2 * images - 1,
        "origins": origins,
        "directions": directions,
        "backgrounds": 2 * backgrounds - 1,
    }


def objects(count: int, index: int = 0) -> torch.Tensor:
    return torch.full((count,), index)


def test_distances_to_outlines_are_those_of_scipy():
    masks = torch.rand(3, 20, 33, generator=torch.Generator().manual_seed(0)) > 0.7
    found = outline_distances(masks)
    for mask, distance in zip(masks.numpy(), found, strict=True):
        outside, inside = (scipy.ndimage.distance_transform_edt(part) for part in (~mask, mask))
        expected = (outside - 0.5).clip(min=0) - (inside - 0.5).clip(min=0)
        assert abs(distance.numpy() - expected).max() < 1e-4
    assert (outline_distances(torch.zeros(1, 4, 4, dtype=torch.bool)) > 4).all()


@pytest.mark.parametrize("with_backgrounds", [True, False])
def test_cover_is_found_whatever_stands_behind_and_highlights_are_no_holes(with_backgrounds):
    cover = torch.zeros(1, 1, 1, 16, 16)
    cover[..., 3:13, 4:12] = 1
    colors = torch.full((1, 1, 3, 16, 16), 0.4)
    colors[..., 7, 7] = 1.0  # a highlight as white as the paper
    images = colors * cover + 1 - cover
    found = find_cover(images, torch.where(cover > 0, colors, 0.7) if with_backgrounds else None)
    assert torch.equal(found > 0.5, cover > 0.5)
    if with_backgrounds:
        soft = torch.where(cover > 0, 0.3, 0.0)
        found = find_cover((0.4 * soft + 1 - soft).expand_as(images), torch.full_like(images, 0.4))
        assert (found - soft).abs().max() < 1e-3


def test_colours_go_on_beside_what_is_covered():
    cover = torch.zeros(2, 1, 17, 24)
    cover[0, :, 4:9, 3:8], cover[0, :, 9, 3:8], cover[0, :, 4:9, 18:21] = 1.0, 0.5, 1.0
    colors = torch.zeros(2, 3, 17, 24)
    colors[0, 0, 4:10, 3:8], colors[0, 1, 4:9, 18:21] = 0.8, 0.6
    found = spread(colors * cover, cover)
    torch.testing.assert_close(found[:, :, 4:9], torch.where(cover > 0.9, colors, found)[:, :, 4:9])
    assert abs(float(found[0, 0, 9, 5]) - 0.8) < 0.05  # half covered, not half as bright
    left, right = found[0, :, 6, 1], found[0, :, 6, 22]
    assert left[0] > 0.6 and left[1] < 0.15 and right[1] > 0.35 and right[0] < 0.3
    assert (found[0].sum(0) > 0.5).all() and found[1].abs().max() == 0


def test_the_hull_of_a_ball_is_about_the_ball_and_never_inside_it():
    photos = read_photos(**ball_photos(40))
    points = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    points = points[points.norm(dim=-1) < RADIUS]
    found = photos.outside(points, objects(len(points)), RADIUS)
    expected = points.norm(dim=-1) - BALL
    pixel = 2 / (1.5 * 64)
    assert (found > expected - 1.5 * pixel)[expected.abs() < 0.1].all()  # more photos, nearer from outside
    ring = (expected > 0) & (expected < 0.1) & (points[:, 1].abs() < 0.05)
    assert (found - expected)[ring].abs().median() < pixel


def test_points_that_no_photo_sees_are_bounded_by_the_ball():
    photos = read_photos(**ball_photos(1))
    behind = torch.tensor([[0.0, 50.0, 100.0]])
    assert float(photos.outside(behind, objects(1), RADIUS)) > 40
    towards = photos.look_up(behind, objects(1))
    assert all(part.isfinite().all() for part in towards)


def test_colours_come_from_the_photos_of_the_object_asked_for():
    red, green = (read_photos(**ball_photos(4, color=color)) for color in ((0.9, 0.1, 0.1), (0.1, 0.9, 0.1)))
    both = type(red)(torch.cat([red.maps, green.maps]), torch.cat([red.cameras, green.cameras]))
    points = torch.nn.functional.normalize(torch.randn(30, 3), dim=-1) * BALL * 0.9
    which = torch.arange(2).repeat_interleave(15)
    colors, cover, towards = both.look_up(points, which)
    assert (cover > 0.9).all()
    assert (colors[:15] - torch.tensor([0.9, 0.1, 0.1])).abs().max() < 0.02
    assert (colors[15:] - torch.tensor([0.1, 0.9, 0.1])).abs().max() < 0.02
    centers = cameras_around(4).centers
    expected = torch.nn.functional.normalize(centers - points[:, None], dim=-1)
    assert (towards - expected).abs().max() < 1e-4
    assert len(both.look_up(points[:0], which[:0])[0]) == 0


def test_an_untrained_model_shows_hull_and_colours_of_all_sets(tmp_path, monkeypatch):
    model = small_model(use_photos=True, image_size=64, sdf_inv_std=200.0, num_samples=200)
    for parameter in (*model.decoders.heads["sdf"].parameters(), model.decoders.blend.score.weight):
        torch.nn.init.zeros_(parameter)
    given = ball_photos(8)
    halves = [{name: value[:, part] for name, value in given.items()} for part in (slice(4), slice(4, 8))]
    with torch.no_grad():
        first = model(**halves[0])
        second = model(**halves[1], state=first.state)
        whole = read_photos(**given)
    assert torch.equal(second.state.photo_maps, whole.maps) and second.state.photo_cameras.shape == (1, 8, 4, 3)
    second.state.save(tmp_path / "state.safetensors")
    loaded = LIRMState.load(tmp_path / "state.safetensors")
    planes = model.decode_planes(loaded)
    origins, directions = (part[:, 0].flatten(2).mT for part in rays_of(cameras_around(1, 32)))
    with torch.no_grad():
        render = model.render(planes, origins, directions)
        occupied = model.render(planes, origins, directions, occupancy=model.find_occupancy(planes))
    center = 16 * 32 + 16
    assert render.opacity[0, center] > 0.99 and render.opacity[0, 0] < 0.01
    assert abs(float(render.depth[0, center]) - (origins[0, center].norm() - BALL)) < 0.06
    assert (render.radiance[0, center] - torch.tensor([0.2, 0.6, 0.4])).abs().max() < 0.1
    torch.testing.assert_close(occupied.opacity, render.opacity, atol=2e-3, rtol=0)
    grid = torch.linspace(-0.4, 0.4, 6)
    points = torch.cartesian_prod(grid, grid, grid)[None]
    on_grid = model.signed_distances_on_grid(planes, grid).view(1, -1, 1)
    torch.testing.assert_close(on_grid, model.query(planes, points).sdf, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.signed_distances(planes, points)[..., None], model.query(planes, points).sdf)
    monkeypatch.setattr(occupancy_lirm, "SMALLEST_INTERPOLATED", 64)
    fine = torch.linspace(-0.5, 0.5, 65)
    found, points = model.signed_distances_on_grid(planes, fine)[0], torch.cartesian_prod(fine, fine, fine)[None]
    expected = model.query(planes, points, chunk=1 << 16).sdf.view(65, 65, 65)
    near = expected.abs() < 0.05
    assert near.sum() > 1000 and (found - expected)[near].abs().max() < 1e-4
    assert (found - expected).abs().max() < 0.05 and torch.equal(found > 0, expected > 0)


def test_outlines_of_the_hull_are_as_large_as_the_masks_and_as_bright_as_the_photos():
    """Seen from where a photo was taken: density outside of the hull is no dark or wide rim."""
    given = ball_photos(4)
    inside = given["images"][0, 0, 0] < 0.9
    areas, rims = [], []
    for inset in (0.0, 2.5):
        model = small_model(
            use_photos=True,
            image_size=64,
            sdf_inv_std=200.0,
            num_samples=200,
            density_inset=inset,
            appearance_gain=0.01,
        )
        for parameter in (*model.decoders.heads["sdf"].parameters(), model.decoders.blend.score.weight):
            torch.nn.init.zeros_(parameter)
        origins, directions = (given[name][:, 0].flatten(2).mT for name in ("origins", "directions"))
        with torch.no_grad():
            render = model.render(model(**given).planes, origins, directions)
        opacity, radiance = render.opacity[0, :, 0].view(64, 64), render.radiance[0].view(64, 64, 3)
        areas.append(float((opacity > 0.5).sum() / inside.sum()))
        rim = (opacity > 0.3) & ~inside
        shown = (radiance - (1 - opacity[..., None]))[rim] / opacity[rim][:, None]
        rims.append((shown - torch.tensor([0.2, 0.6, 0.4])).abs().mean())
    assert areas[0] > 1.1 and abs(areas[1] - 1) < 0.07
    assert max(rims) < 0.1


def test_normals_start_as_the_slope_of_the_distances():
    model, given = small_model(use_photos=True, image_size=64), ball_photos(20)
    torch.nn.init.zeros_(model.decoders.heads["sdf"].last.weight)
    torch.nn.init.zeros_(model.decoders.heads["normal"].last.weight)
    outwards = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    planes = model(**given).planes
    # a ball that is not in the middle: directions from the middle are no normals
    moved = LIRMPlanes(
        planes.planes, planes.panoramas, type(planes.photos)(planes.photos.maps, planes.photos.cameras.clone())
    )
    moved.photos.cameras[:, :, 3] += torch.tensor([0.15, 0.0, 0.0])
    points = outwards * BALL + torch.tensor([0.15, 0.0, 0.0])
    found = model.query(moved, points[None]).normals[0]
    assert (found * outwards).sum(-1).median() > 0.97
    assert (torch.nn.functional.normalize(points, dim=-1) * outwards).sum(-1).median() < 0.95


def test_two_passes_give_the_gradients_of_one_with_photos_too():
    model, given = small_model(use_photos=True).train(), ball_photos(3, 16)
    origins, directions = (part[:, 0].flatten(2).mT for part in rays_of(cameras_around(1, 16)))

    def image_loss(render):
        return sum((value * weight).sum() for weight, value in enumerate(render.maps().values(), 1)) / 1000

    found = []
    for chunk in (None, 100):
        model.zero_grad()
        planes = model(**given).planes
        if chunk is None:
            loss = image_loss(model.render(planes, origins, directions))
        else:
            loss = deferred_loss(model, planes, origins, directions, image_loss, chunk=chunk)[0]
        loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for one, two in zip(*found, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(two, one, atol=1e-4 * float(one.abs().max()) + 1e-7, rtol=1e-3)
    assert model.decoders.blend.photo.weight.grad.abs().max() > 0


def test_planes_take_their_photos_along_and_materials_alone_cannot_copy():
    photos = read_photos(**{name: value.repeat(2, 1, 1, 1, 1) for name, value in ball_photos(2, 16).items()})
    planes = LIRMPlanes(torch.zeros(2, 6, 4, 4, 3), photos=photos)
    assert len(planes[:1].photos.maps) == 1 and planes.to("cpu").detach().photos is not None
    with pytest.raises(ValueError, match="use_photos"):
        LIRMConfig.from_size("tiny", prediction_type="brdf")
