"""Choice of central views and overlapping groups, on apartments whose overlap is known."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from geometry.pointmaps import apartment
from scipy.stats import spearmanr

from anyviews.geometry.depth import reproject_depth
from anyviews.geometry.view_similarity import central_views, overlapping_groups, view_similarity


SEEDS = (11, 14)


def true_overlap(views):
    """Of each pair of views, the mean part of what one sees that the other sees, too."""
    count = len(views)
    overlap = torch.eye(count)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        cameras = views.cameras[[i] * len(others)]
        depths = views.depths[[i] * len(others)]
        seen = reproject_depth(depths, cameras, views.depths[others], views.cameras[others]).covisible
        overlap[i, others] = seen.float().mean((1, 2, 3))
    return (overlap + overlap.T) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_similar_views_overlap(seed):
    views = apartment(seed, 12, 64)
    first, second = torch.triu_indices(12, 12, 1)
    similarity, overlap = view_similarity(views.images), true_overlap(views)
    assert spearmanr(similarity[first, second], overlap[first, second]).statistic > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_chosen_views_overlap_with_all_better_than_the_first_ones(seed):
    views = apartment(seed, 12, 64)
    overlap = true_overlap(views)
    chosen = central_views(view_similarity(views.images), 4)
    best = [overlap[references].amax(0) for references in (chosen, [0, 1, 2, 3], central_views(overlap, 4))]
    assert best[0].mean() > best[1].mean() + 0.05
    assert best[0].min() > best[1].min()
    assert best[0].mean() > best[2].mean() - 0.03  # as good as knowing the overlap


def test_similarity_is_symmetric_largest_of_a_view_with_itself_and_blind_to_order():
    images = apartment(11, 12, 64).images
    similarity = view_similarity(images)
    torch.testing.assert_close(similarity, similarity.T)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(12))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(view_similarity(images[order]), similarity[order][:, order])


def test_similarity_hardly_changes_with_the_size_of_the_photos():
    images = apartment(14, 12, 64).images
    larger = F.interpolate(images, (150, 150), mode="bilinear")
    assert (view_similarity(images) - view_similarity(larger)).abs().mean() < 0.03


def test_photos_without_any_contrast():
    assert view_similarity(torch.full((3, 3, 20, 30), 0.5)).isfinite().all()


def blocks(*sizes):
    """Similarities of views in separate sets."""
    member = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
    return (member[:, None] == member).float() * 0.8 + torch.eye(len(member)) * 0.2


def test_central_views_cover_every_set():
    chosen = central_views(blocks(5, 3, 2), 3)
    assert chosen[0] < 5
    assert {0 if i < 5 else 1 if i < 8 else 2 for i in chosen} == {0, 1, 2}
    assert sorted(central_views(blocks(2, 2), 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize("count, size, shared", [(1, 4, 2), (4, 4, 2), (5, 4, 2), (23, 6, 2), (23, 6, 5)])
def test_groups_hold_every_view_and_share_views_with_those_before(count, size, shared):
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(count))
    groups = overlapping_groups(1 - torch.cdist(points, points), size, shared)
    seen = set(groups[0])
    for group in groups[1:]:
        assert len(set(group) & seen) == shared and set(group[:shared]) <= seen
        seen |= set(group)
    assert seen == set(range(count))
    assert all(len(set(group)) == len(group) <= size for group in groups)


def test_every_view_of_a_sequence_has_its_neighbour_in_its_group():
    along = torch.arange(30.0)
    groups = overlapping_groups(1 - (along[:, None] - along).abs() / 30, 10, 3)
    assert max(groups[0]) - min(groups[0]) == 9
    for group in groups:
        ordered = sorted(group)
        gaps = [after - before for before, after in itertools.pairwise(ordered)]
        # what is left at both ends may go together, each with the neighbour that an earlier group has
        assert sum(gap > 3 for gap in gaps) <= 1, ordered
        assert all(min(abs(view - other) for other in group if other != view) <= 2 for view in group[3:]), ordered


def test_groups_without_room_are_refused():
    with pytest.raises(ValueError, match="groups of 4 views cannot share 4; accepted are 1 to 3"):
        overlapping_groups(blocks(9), 4, 4)
