"""train_mvdust3r.py: which views go together, stages that build on each other, and runs from start to end."""

import json
from types import ModuleType

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from script_modules import load_script
from training.event_files import assert_tracked

from anyviews.data import open_samples
from anyviews.data.samples import Sample
from anyviews.data.world import render_world
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor, MVDust3rPlusModel


MICRO = {
    "patch_size": 8,
    "encoder_hidden_size": 32,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "decoder_hidden_size": 32,
    "decoder_num_layers": 1,
    "decoder_num_heads": 2,
    "gaussian_hidden_size": 16,
    "use_skip": False,
    "num_references": 2,
}
WORLD = {"views": 5, "height": 16, "width": 16, "block": 4, "samples": 1}
GIVEN = {"resolution": 16, "min_views": 3, "max_views": 3, "novel_views": 1, "color_jitter": 0.0}


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The training script as a module."""
    return load_script(repository / "training_scripts" / "train_mvdust3r.py")


def make(script, options: dict | None = None, **arguments):
    """A method, its network and one batch of four procedural rooms."""
    torch.manual_seed(0)
    given = script.MVDust3rArguments(**{**GIVEN, "model_options": {**MICRO, **(options or {})}, **arguments})
    method = script.MVDust3rMethod(given, script.DataArguments())
    network = method.build(given).train()
    samples = iter(open_samples("procedural-rooms", transform=method.transform, **WORLD))
    return method, network, method.collate([next(samples) for _ in range(4)])


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"num_references": 1}, {}),
        ({"use_skip": True, "skip_hidden_size": 4}, {"min_overlap": 0.3}),
        ({}, {"render_weight": 1.0, "color_jitter": 0.5}),
    ],
    ids=["one reference", "skip", "gaussians"],
)
def test_every_configuration_trains_all_of_its_parameters(script, options, arguments):
    method, network, batch = make(script, options, **arguments)
    losses = method.loss(network, batch, torch.Generator())
    losses["loss"].backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert ("color" in losses) == ("render_weight" in arguments)


def test_novel_views_are_rendered_and_not_looked_at(script):
    method, network, batch = make(script, render_weight=1.0)
    network.eval()  # so that both calls are alike
    with torch.no_grad():
        before = method.loss(network, batch, torch.Generator())
        batch["images"][:, 3:] = 1 - batch["images"][:, 3:]
        after = method.loss(network, batch, torch.Generator())
    assert batch["images"].shape[1] == 4
    assert torch.equal(before["points"], after["points"]) and not torch.equal(before["color"], after["color"])


def test_frozen_geometry_stays_and_gaussians_learn(script):
    method, network, batch = make(script, render_weight=1.0, freeze_geometry=True)
    method.loss(network, batch, torch.Generator())["loss"].backward()
    trained = {name for name, p in network.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in network.named_parameters() if "gaussian_head" in name}


def test_rendering_without_gaussian_heads_is_refused(script):
    with pytest.raises(ValueError, match="--render_weight needs Gaussian heads"):
        make(script, {"use_gaussians": False}, render_weight=1.0)


def test_numbers_of_views_must_make_sense(script):
    with pytest.raises(ValueError, match="two or more"):
        make(script, min_views=1)


def test_photos_without_depth_are_refused(script):
    method, _, _ = make(script)
    views = render_world(torch.tensor([1]), 3, 16, 16, maps=False).scene(0)
    with pytest.raises(ValueError, match="sample bare has no depth"):
        method.transform(Sample("bare", type(views)(views.images, views.cameras)))


def test_batches_have_mixed_numbers_of_views(script):
    method, _, _ = make(script, min_views=2, max_views=4)
    samples = iter(open_samples("procedural-rooms", transform=method.transform, **WORLD))
    found = {method.collate([next(samples) for _ in range(2)])["inputs"] for _ in range(12)}
    assert found == {2, 3, 4}


def test_a_model_with_more_references_starts_as_the_given_one(script, tmp_path):
    """Layers that fuse paths start as the identity, so the first path says what it said before."""
    _, single, batch = make(script, {"num_references": 1})
    single.eval().save_pretrained(tmp_path)
    _, several, _ = make(script, {"num_references": 3}, pretrained_model_name_or_path=str(tmp_path), render_weight=1.0)
    assert several.config.num_references == 3 and several.reference_gaussian_head is not None
    images = 2 * batch["images"][:, :3] - 1
    with torch.no_grad():
        found, wanted = several.eval()(images).points, single(images).points
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_given_model_cannot_become_another(script, tmp_path):
    make(script)[1].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="can get more references or Gaussian heads, nothing else"):
        make(script, {"decoder_hidden_size": 64}, pretrained_model_name_or_path=str(tmp_path))


def test_views_are_put_in_an_order_in_which_each_overlaps_with_an_earlier_one(script):
    overlaps = torch.tensor([[1, 0, 0.4, 0], [0, 1, 0.5, 0.1], [0.4, 0.5, 1, 0], [0, 0.1, 0, 1]])
    assert script.connected_order(overlaps, [0, 1, 2, 3], 0.3) == [0, 2, 1, 3]
    assert script.connected_order(overlaps, [3, 0, 1, 2], 0.3) == [3, 1, 2, 0]


def test_a_view_overlaps_with_itself_and_not_with_one_behind_it(script):
    views = render_world(torch.tensor([5]), 2, 16, 16, maps=False).scene(0)
    poses = views.cameras.camera_to_world[[0, 0, 0]].clone()
    poses[2, :3, :3] = poses[2, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    cameras = type(views.cameras)(views.cameras.intrinsics[[0, 0, 0]], poses, views.cameras.image_sizes[[0, 0, 0]])
    overlaps = script.view_overlaps(views.depths[[0, 0, 0]], cameras)
    assert overlaps[0, 1] > 0.8 and overlaps[0, 2] == 0
    assert torch.equal(overlaps, overlaps.T)


def test_jitter_changes_each_view_by_itself_and_stays_in_range(script):
    images = torch.rand(2, 3, 8, 8)[[0, 0]]
    found = script.jitter_colors(images, 0.5, torch.Generator().manual_seed(0))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[0], images[0])
    assert 0 <= found.min() and found.max() <= 1
    assert torch.equal(script.jitter_colors(images, 0.0, torch.Generator()), images)


def test_scenes_are_learned_by_heart(script):
    """Two rooms; from the mean pointmap's error, far above 0.1, in a few seconds."""
    wide = {"encoder_hidden_size": 64, "decoder_hidden_size": 64, "decoder_num_layers": 2}
    method, network, batch = make(script, {**wide, "num_references": 1})
    batch = {name: value[:2] if torch.is_tensor(value) else value for name, value in batch.items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(120):
        losses = method.loss(network, batch, torch.Generator())
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses["error"].item() < 0.1


def run(script, folder, **arguments) -> list[dict]:
    """Train in this process as the script does; returns the records of the steps."""
    given = script.MVDust3rArguments(
        output_dir=str(folder), model_options=MICRO, train_batch_size=2, mixed_precision="bf16", **GIVEN, **arguments
    )
    data = script.DataArguments(dataset_options=WORLD)
    AcceleratorState._reset_state(reset_partial_state=True)  # other tests keep theirs
    try:
        return script.train(script.MVDust3rMethod(given, data), given, data)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the precision of the first run


def test_two_stages_validate_export_and_build_on_each_other(script, tmp_path):
    geometry, gaussians = tmp_path / "geometry", tmp_path / "gaussians"
    validation = {"validation_steps": 2, "validation_scenes": 2}
    first = run(script, geometry, optimizer="muon", max_train_steps=2, **validation)
    assert all(record["error"] > 0 for record in first)
    assert (geometry / "validation" / "step-00000002" / "step-2.png").stat().st_size > 0
    assert_tracked(geometry, "mvdust3r", [2])
    scores = json.loads((geometry / "validation.jsonl").read_text())
    assert scores["error"] > 0 and 0 <= scores["rra@15"] <= 1

    card = ModelCard.load(geometry / "README.md")
    assert "mvdust3r" in card.data.tags
    assert yaml.safe_load(card.text.split("```yaml")[1].split("```")[0])["optimizer"] == "muon"
    assert MVDust3rPlusImageProcessor.from_pretrained(geometry).size == {"height": 16, "width": 16}

    given = {"pretrained_model_name_or_path": str(geometry), "render_weight": 1.0, "freeze_geometry": True}
    assert all(record["color"] > 0 for record in run(script, gaussians, max_train_steps=2, **given))
    before, after = (MVDust3rPlusModel.from_pretrained(path).state_dict() for path in (geometry, gaussians))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert set(after) - set(before) == {name for name in after if "gaussian_head" in name}


def test_a_stopped_run_continues_with_the_same_bits(script, tmp_path):
    whole = run(script, tmp_path / "whole", optimizer="muon", max_train_steps=4)
    run(script, tmp_path / "half", optimizer="muon", max_train_steps=2)
    rest = run(script, tmp_path / "half", optimizer="muon", max_train_steps=4, resume_from_checkpoint="latest")
    assert rest == whole[2:]


@pytest.mark.parametrize("name", ["mvdust3r_tiny", "mvdust3r_tiny_plus", "mvdust3r_tiny_gaussians"])
def test_the_configs_are_understood(script, repository, name):
    path = repository / "training_scripts" / "configs" / f"{name}.yaml"
    arguments, data = script.parse_arguments(
        script.MVDust3rArguments, script.DataArguments, argv=["--config", str(path)]
    )
    assert arguments.resolution == 64 and data.dataset_name == "procedural-rooms"
    assert (arguments.render_weight > 0) == (name == "mvdust3r_tiny_gaussians")
