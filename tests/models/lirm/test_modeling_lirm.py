"""The network: its transformer, its update step, and that it learns."""

import pytest
import torch
import torch.nn.functional as F
from live_bytes import LiveBytes
from small_lirm import photos, random_planes, small_model

from anyviews.models.lirm import LIRMConfig, LIRMModel, LIRMState, layers_lirm


def plain_update(model: LIRMModel, image_tokens, planes, panoramas):
    """Eq. 5 with every token carried through every layer, and attention spelt out."""
    config = model.config
    objects = []
    for embedding, known in ((model.plane_embedding, planes), (model.panorama_embedding, panoramas)):
        learned = embedding.expand(len(image_tokens), -1, -1)
        fuse = model.plane_fuse
        objects.append(linear(fuse.down, F.gelu(linear(fuse.up, torch.cat([known, learned], dim=-1)))))
    states = torch.cat([*objects, image_tokens], dim=1)
    heads, head_dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    for layer in model.layers:
        normed = layer.attention_norm(states)
        key, value = layer.attention.key_value(normed).chunk(2, dim=-1)
        split = [
            x.unflatten(-1, (heads, head_dim)).transpose(1, 2) for x in (layer.attention.query(normed), key, value)
        ]
        weights = (split[0] @ split[1].mT / head_dim**0.5).softmax(-1)
        states = states + layer.attention.out((weights @ split[2]).transpose(1, 2).flatten(2))
        states = states + linear(layer.mlp.down, F.gelu(linear(layer.mlp.up, layer.mlp_norm(states))))
    states = model.norm(states)
    return states[:, : config.num_plane_tokens], states[:, config.num_plane_tokens :][:, : config.num_panorama_tokens]


def linear(layer, states):
    weight = layer.weight
    if layer.length is not None:
        weight = layer.length * F.normalize(weight, dim=1)
    return states @ weight.T + layer.bias


def test_update_equals_the_plain_computation():
    """For the first set, where the state is zero (M = 1 is a model without updates), and for the next."""
    model, given = small_model(), photos()
    zeros = torch.zeros(2, model.config.num_plane_tokens, 32), torch.zeros(2, model.config.num_panorama_tokens, 32)
    with torch.no_grad():
        tokens = model.encode_images(**given)
        first = model.update(tokens)
        torch.testing.assert_close((first.planes, first.panoramas), plain_update(model, tokens, *zeros), **CLOSE)
        again = model.update(tokens, LIRMState(*zeros, updates=1))
        torch.testing.assert_close((again.planes, again.panoramas), (first.planes, first.panoramas), **CLOSE)
        second = model.update(tokens, first)
        expected = plain_update(model, tokens, first.planes, first.panoramas)
        torch.testing.assert_close((second.planes, second.panoramas), expected, **CLOSE)
    assert (first.updates, second.updates) == (1, 2)
    assert (second.planes - first.planes).abs().max() > 0.01


CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def test_tokens_are_linear_in_image_rays_and_background():
    """One linear map of the concatenated inputs, as the method states it."""
    model, given = small_model(), photos(1, 1)
    embedding = model.patch_embedding
    directions = given["directions"][0, 0]
    moment = torch.linalg.cross(given["origins"][0, 0], directions, dim=0)
    maps = torch.cat([given["images"][0, 0], moment, directions, given["backgrounds"][0, 0]])
    parts = (embedding.image, embedding.rays, embedding.background)
    weight = torch.cat([part.weight for part in parts], dim=1).flatten(1)
    patches = F.unfold(maps[None], 8, stride=8)[0].T
    expected = embedding.norm(patches @ weight.T + sum(part.bias for part in parts))
    torch.testing.assert_close(model.encode_images(**given)[0], expected, **CLOSE)


def test_a_fresh_model_ignores_backgrounds():
    model, given = LIRMModel.from_size("tiny", sweep_size=0, use_photos=False), photos(1, 2)
    with torch.no_grad():
        with_backgrounds = model.encode_images(**given)
        given.pop("backgrounds")
        assert torch.equal(model.encode_images(**given), with_backgrounds)


def test_order_of_photos_and_company_do_not_matter():
    model, given = small_model(), photos(3, 4)
    with torch.no_grad():
        expected = model(**given).planes
        shuffled = model(**{name: value[:, [2, 0, 3, 1]] for name, value in given.items()}).planes
        alone = [model(**{name: value[i : i + 1] for name, value in given.items()}).planes for i in range(3)]
    torch.testing.assert_close(shuffled.planes, expected.planes, **CLOSE)
    torch.testing.assert_close(shuffled.panoramas, expected.panoramas, **CLOSE)
    torch.testing.assert_close(torch.cat([one.planes for one in alone]), expected.planes, **CLOSE)


def test_tokens_become_texels_where_they_lie():
    """Token (plane, row, column) fills its square of that plane; panoramas are quarters of one square."""
    model = small_model()
    config = model.config
    state = LIRMState(torch.zeros(1, 6 * 16, 32), torch.zeros(1, 16, 32))
    with torch.no_grad():
        before = model.decode_planes(state)
        state.planes[0, 2 * 16 + 1 * 4 + 3] = 1.0  # plane xz+, row 1, column 3
        state.panoramas[0, 1 * 4 + 2] = 1.0  # row 1, column 2 of the square: top right
        after = model.decode_planes(state)
    changed = (after.planes - before.planes).abs().amax(-1)[0] > 0
    expected = torch.zeros_like(changed)
    expected[2, 2:4, 6:8] = True
    assert torch.equal(changed, expected)
    changed = (after.panoramas - before.panoramas).abs().amax(-1)[0] > 0
    expected = torch.zeros_like(changed)
    expected[1, 2:4, 0:2] = True
    assert torch.equal(changed, expected)
    assert after.planes.shape == (1, 6, config.plane_resolution, config.plane_resolution, config.plane_dim)


def test_attention_is_the_same_in_every_form(monkeypatch):
    """Spelt out on a CPU with gradients, some queries at a time without; by torch's fused product."""
    model, given = small_model(), photos()
    with torch.no_grad():
        expected = model(**given).planes.planes
        monkeypatch.setattr(layers_lirm, "CACHED_SCORES", 1)
        torch.testing.assert_close(model(**given).planes.planes, expected, **CLOSE)
    monkeypatch.setattr(layers_lirm, "EXPLICIT_TOKENS", 1)
    torch.testing.assert_close(model(**given).planes.planes, expected, **CLOSE)
    monkeypatch.undo()
    torch.testing.assert_close(model(**given).planes.planes, expected, **CLOSE)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        torch.testing.assert_close(model(**given).planes.planes, expected, **CLOSE)


def test_gradient_checkpointing_changes_nothing_and_keeps_less():
    given, found = photos(), []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = small_model(num_hidden_layers=4).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        assert model.layers[0].gradient_checkpointing == checkpointing
        kept = {}

        def pack(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            planes = model(**given).planes.planes
        planes.square().mean().backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((sum(kept.values()), gradients))
    (plain_bytes, plain), (checkpointed_bytes, checkpointed) = found
    assert checkpointed_bytes < 0.5 * plain_bytes
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_memory_does_not_grow_with_updates():
    """Ten sets of photos one after the other need what one needs, within 2 %."""
    model, given = small_model(), photos(1, 4)
    peaks, state = [], None
    with torch.no_grad():
        for _ in range(10):
            with LiveBytes() as live:
                output = model(**given, state=state)
                state = output.state
                del output
            peaks.append(live.peak)
    assert state.updates == 10
    assert max(peaks[1:]) <= 1.02 * min(peaks[1:])
    assert peaks[-1] <= 1.02 * peaks[1]


@pytest.mark.parametrize(("bptt_steps", "second_reaches_first"), [(0, False), (1, True)])
def test_gradients_pass_through_so_many_updates(bptt_steps, second_reaches_first):
    """With 1, the first two sets are one stretch and the third begins another."""
    model = small_model(bptt_steps=bptt_steps)
    sets = [torch.randn(1, 8, 32, requires_grad=True) for _ in range(3)]

    def reached(state):
        found = torch.autograd.grad(state.planes.square().sum(), sets, allow_unused=True, retain_graph=True)
        return [gradient is not None for gradient in found]

    first = model.update(sets[0])
    second = model.update(sets[1], first)
    third = model.update(sets[2], second)
    assert reached(second) == [second_reaches_first, True, False]
    assert reached(third) == [False, False, True]


def test_a_residual_fuse_starts_as_a_model_without_updates():
    model = LIRMModel.from_size("tiny", fuse_residual=True, sweep_size=0)
    with torch.no_grad():
        fused = model._fuse(model.plane_fuse, model.plane_embedding, None)
        known = torch.randn(2, *model.plane_embedding.shape)
        assert torch.equal(fused[0], model.plane_embedding)
        assert torch.equal(model._fuse(model.plane_fuse, model.plane_embedding, known)[1], model.plane_embedding)


@pytest.mark.parametrize(
    "overrides",
    [
        {"plane_type": "tri"},
        {"nde_type": "none"},
        {"nde_type": "sh"},
        {"fuse_shared": False, "fuse_activation": "silu"},
        {"state_after_norm": False},
        {"weight_norm": False, "use_background": False},
        {"sweep_size": 2},
    ],
)
def test_every_choice_runs_and_trains_all_its_weights(overrides):
    model, given = small_model(**overrides).train(), photos()
    if not model.config.use_background:
        given.pop("backgrounds")
    planes = model(**given, state=model(**given).state).planes
    fields = model.query(planes, torch.rand(2, 60, 3) - 0.5, F.normalize(torch.randn(2, 60, 3), dim=-1))
    sum(value.square().sum() for value in vars(fields).values() if value is not None).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, f"{name} never learns"


def test_half_precision_keeps_planes_in_float32():
    model, given = small_model(), photos()
    with torch.no_grad():
        expected = model(**given).planes
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(**given).planes
    assert found.planes.dtype == found.panoramas.dtype == torch.float32
    difference = (found.planes - expected.planes).abs().mean() / expected.planes.abs().mean()
    assert 0 < difference < 0.05


def test_it_learns_one_object():
    """Thirty steps on one coloured ball: the error of its images falls to less than a tenth."""
    model = LIRMModel.from_size(
        "tiny", num_hidden_layers=1, plane_token_size=4, sweep_size=0, use_photos=False
    ).train()
    given = photos(1, 2, 32)
    origins, directions = (F.normalize(torch.randn(1, 192, 3), dim=-1) * 1.3 for _ in range(2))
    directions = F.normalize(directions * 0.25 - origins, dim=-1)
    nearest = -(origins * directions).sum(-1, keepdim=True)
    miss = (origins + nearest * directions).norm(dim=-1, keepdim=True)
    mask = (miss < 0.3).float()
    colors = torch.where(mask > 0, torch.tensor([0.8, 0.3, 0.1]), 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        render = model.render(model(**given).planes, origins, directions, samples=32, sharpness=30.0)
        loss = F.mse_loss(render.radiance, colors) + F.mse_loss(render.opacity, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.1
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"plane_type": "quad"}, "plane_type='quad' is not one of hexa, tri"),
        ({"nde_type": "cube"}, "is not one of none, sh, panorama"),
        ({"hidden_size": 0}, "hidden_size=0 must be above 0"),
        ({"image_size": 60}, "not a multiple of patch_size=8"),
        ({"hidden_size": 130}, "not a multiple of num_attention_heads=4"),
        ({"nde_panoramas": 2}, "must be 1, 4, 9"),
        ({"sdf_depth": 0}, "must be 1 or more"),
        ({"bptt_steps": -1}, "must be 0 or more"),
    ],
)
def test_impossible_configurations_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        LIRMConfig.from_size("tiny", **overrides)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="unknown size 'huge'; accepted are tiny, small, base"):
        LIRMConfig.from_size("huge")
    model = small_model(use_background=False)
    with pytest.raises(ValueError, match="reads no backgrounds"):
        model.encode_images(**photos())
    given = photos(size=20)
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode_images(given["images"], given["origins"], given["directions"])
    with pytest.raises(ValueError, match="A state belongs to the model that made it"):
        model.update(torch.zeros(3, 4, 32), model.update(torch.zeros(2, 4, 32)))


def test_the_papers_model_has_the_stated_size():
    """Section 4 estimates 326 million weights."""
    with torch.device("meta"):
        model = LIRMModel.from_size("base")
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(326e6, rel=0.01)
    assert model.config.num_plane_tokens == 13_824
    assert model.config.num_panorama_tokens == 1024
    assert (model.config.plane_resolution, model.config.panorama_resolution) == (384, 128)


def test_planes_can_be_picked_by_object():
    planes = random_planes(small_model(), 3)
    one = planes[1:2]
    assert len(one) == 1
    assert torch.equal(one.planes[0], planes.planes[1])
    assert torch.equal(one.panoramas[0], planes.panoramas[1])
