"""How MVGD keeps any number of context views within a stated memory: the plan is made before anything is computed."""

import math
from dataclasses import dataclass

from .embeddings_mvgd import count_ray_features


SMALLEST_CHUNK = 64
VIEWS_ENCODED_AT_ONCE = 16

# Small things that do not grow with the work: the checks of cameras, the noise level's code.
FIXED_BYTES = 256 * 1024
# Intrinsics and poses of one view in double precision, resized, relative to the target and scaled.
CAMERA_BYTES = 2048
# RMS normalisation of a query or key: three intermediates in float32.
NORM_BYTES = 12


@dataclass(frozen=True)
class Workload:
    """What one pass has to do.

    Args:
        views: context views that the denoiser sees.
        stored_views: context views whose features are kept, of which `views` may be a selection.
        generated_views: how many of the stored views joined the given photos later.
        pixels_per_view: pixels of a resized context view.
        prediction_tokens: tokens of all targets for one task.
        tasks: channels of each task, such as (3, 1).
        members: ensemble members in all.
        bytes_per_value: of the weights' dtype.
    """

    views: int
    stored_views: int
    generated_views: int
    pixels_per_view: int
    prediction_tokens: int
    tasks: tuple[int, ...]
    members: int
    bytes_per_value: int


@dataclass(frozen=True)
class MemoryPlan:
    """How to run one pass.

    Args:
        cached: keep keys and values of all scene tokens for all steps, tasks and members.
        chunk_tokens: otherwise project and attend to so many scene tokens at a time.
        members: ensemble members denoised together.
        encoded_views: context views encoded together.
        peak_bytes: what the pass needs beside the weights, the photos as they were given and the results.
    """

    cached: bool
    chunk_tokens: int | None
    members: int
    encoded_views: int
    peak_bytes: int


def plan_memory(config, work: Workload, max_memory: int | None, cache_scene: bool = True) -> MemoryPlan:
    """Choose the fastest plan within `max_memory` bytes.

    Args:
        config: of the transformer.
        work: what the pass has to do.
        max_memory: the limit, or None for everything at once.
        cache_scene: allow plans that keep keys and values of the scene.

    Raises:
        ValueError: if no plan fits; it names the smallest limit that would.
    """
    scene_tokens = work.views * work.pixels_per_view // 16
    chunks: list[int | None] = [None]
    chunk = scene_tokens
    while chunk > SMALLEST_CHUNK and config.read_mode == "decoupled":
        chunk = max(chunk // 2, SMALLEST_CHUNK)
        chunks.append(chunk)
    at_once = min(work.stored_views, VIEWS_ENCODED_AT_ONCE)
    fastest_first = [
        MemoryPlan(cached, chunk, members, encoded, _peak_bytes(config, work, cached, chunk, members, encoded))
        for encoded in dict.fromkeys((at_once, 1))
        for cached, chunk in [(True, None)] * cache_scene + [(False, chunk) for chunk in chunks]
        for members in dict.fromkeys((work.members, 1))
    ]
    if max_memory is None:
        return fastest_first[0]
    for plan in fastest_first:
        if plan.peak_bytes <= max_memory:
            return plan
    raise ValueError(
        f"max_memory={max_memory} bytes is too little for {work.views} context views ({scene_tokens} tokens); at "
        f"least {min(plan.peak_bytes for plan in fastest_first)} bytes are needed. Give that, fewer targets_per_pass, "
        "or max_context_views to use only the nearest ones"
    )


def _peak_bytes(config, work: Workload, cached: bool, chunk: int | None, members: int, encoded: int) -> int:
    """Bytes of a pass: what it holds throughout, and the largest of its phases, which follow each other."""
    size, token_dim = work.bytes_per_value, config.token_dim
    scene_tokens = work.views * work.pixels_per_view // 16
    ray_features = _ray_features(config)

    held = FIXED_BYTES + work.stored_views * (CAMERA_BYTES + work.pixels_per_view * 3 * 4)  # resized photos
    features = (work.stored_views * work.pixels_per_view // 16) * config.image_feature_dim * size
    held += features
    held += scene_tokens * token_dim * size + work.prediction_tokens * 12 * 4  # scene tokens, rays of the targets

    joining = features if work.generated_views else 0  # old and new features side by side
    encoding = encoded * work.pixels_per_view * (6 + config.image_feature_dim / 4) * 4
    selecting = 0  # a copy of the chosen features
    if work.stored_views > work.views:
        selecting = scene_tokens * config.image_feature_dim * size
    code = 48 + 2.5 * ray_features + 2 * config.image_embed_dim + token_dim
    embedding = selecting + min(encoded, work.views) * (work.pixels_per_view // 16) * code * 4

    sweeping = 0
    if config.sweep_depths:
        held += work.prediction_tokens * token_dim * size  # the codes of the targets
        sweeping = _sweeping_bytes(config, work)

    # states of all members, as the scheduler's step holds them: old, predicted, new, and its own intermediates
    states = work.members * work.prediction_tokens * sum(work.tasks) * config.patch_size**2 * 4
    latents = config.num_latents * config.latent_dim * size
    kept = 2 * work.members * latents + 3 * states
    denoising = kept + max(
        members * work.prediction_tokens * (2.5 * ray_features + 3 * config.patch_size**2 + config.task_embed_dim) * 4
        + members * work.prediction_tokens * len(work.tasks) * token_dim * size,
        members * _block_bytes(config, work, latents) + _scene_bytes(config, work, cached, chunk, members),
    )
    stepping = kept + 9 * states
    cache = _cache_bytes(config, scene_tokens, size) if cached else 0
    return math.ceil(held + max(joining, encoding, embedding, sweeping, cache + max(denoising, stepping)))


def _sweeping_bytes(config, work: Workload) -> float:
    """What the plane sweep holds: filtered photos, sums over the photos, and the work of one photo at a time."""
    rays = work.prediction_tokens * (config.patch_size // config.sweep_stride) ** 2
    photos = work.views * work.pixels_per_view * 3 * 4 * (1 + 1 / config.sweep_stride**2)
    per_point = (
        5 + 24
    )  # sums; coordinates, samples and masks of one photo, or the features while they are put together
    embedding = work.prediction_tokens * config.token_dim * 6 * work.bytes_per_value
    return photos + rays * config.sweep_depths * per_point * 4 + embedding


def _block_bytes(config, work: Workload, latents: int) -> float:
    """Activations of one block and one member, beside those that grow with the scene.

    Each stream is held as the block's input, its sum so far, its normalised copy, and either queries, attention and
    its projection, or the hidden layer of the feed-forward before and after the activation.
    """
    values = work.prediction_tokens * len(work.tasks) * config.token_dim
    tokens = values * work.bytes_per_value * (4 + 2 * max(1, config.token_mlp_ratio))
    return tokens + config.qk_norm * values * NORM_BYTES + latents * (6 + 2 * max(1, config.latent_mlp_ratio))


def _cache_bytes(config, scene_tokens: int, size: int) -> int:
    """Keys and values of the scene in all blocks."""
    width = min(config.latent_dim, config.token_dim) + config.token_scene_attention * config.token_dim
    return config.num_blocks * 2 * scene_tokens * width * size


def _scene_bytes(config, work: Workload, cached: bool, chunk: int | None, members: int) -> float:
    """What attention to the scene holds while it runs, beside the cache."""
    size, inner = work.bytes_per_value, min(config.latent_dim, config.token_dim)
    widest = config.token_dim if config.token_scene_attention else inner
    scene_tokens = work.views * work.pixels_per_view // 16
    prediction_tokens = work.prediction_tokens * len(work.tasks)
    if chunk is not None:
        # online softmax in float32: scores of this chunk and the last, and running sums of the width of a query
        queries = members * max(config.num_latents, prediction_tokens * config.token_scene_attention)
        running = queries * (2 * config.num_attention_heads * (chunk + 4) + 6 * widest) * 4
        return running + chunk * widest * (4 * 4 + config.qk_norm * NORM_BYTES)
    held = config.qk_norm * scene_tokens * widest * NORM_BYTES
    if not cached:
        held += 2 * scene_tokens * widest * size
    if config.read_mode == "joint":
        # one tape of keys and values per member, and its parts while it is put together
        held += members * (3 * scene_tokens + 4 * prediction_tokens) * inner * size
    return held


def _ray_features(config) -> int:
    return count_ray_features(
        config.origin_bands,
        config.direction_bands,
        config.ray_encoding_sine_only,
        config.ray_footprint,
        config.ray_points,
    )
