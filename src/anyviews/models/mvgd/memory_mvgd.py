"""How MVGD keeps any number of context views within a stated memory: the plan is made before anything is computed."""

import re
from dataclasses import dataclass


UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}

SMALLEST_CHUNK = 64

# Bytes held at once per value of a residual stream, in units of that stream: its normalised copy, the projected
# queries and attention result, and the hidden layer of the feed-forward and its activation.
STREAM_COPIES = 4.0


@dataclass(frozen=True)
class MemoryPlan:
    """How to run one pass.

    Args:
        cached: keep keys and values of all scene tokens for all steps, tasks and members.
        chunk_tokens: otherwise project and attend to so many scene tokens at a time.
        members: ensemble members denoised together.
        encoded_views: context views encoded together.
        peak_bytes: what the pass needs beside the weights and its inputs.
    """

    cached: bool
    chunk_tokens: int | None
    members: int
    encoded_views: int
    peak_bytes: int


def parse_memory(value: int | str) -> int:
    """Bytes from an integer or a text such as "2GB" or "500 MiB"."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in UNITS:
        raise ValueError(f"max_memory={value!r}; accepted are bytes or a text such as '2GB' or '500MiB'")
    return int(float(match[1]) * UNITS[match[2].upper()])


def plan_memory(
    config,
    views: int,
    pixels_per_view: int,
    prediction_tokens: int,
    ensemble_size: int,
    bytes_per_value: int,
    max_memory: int | None,
) -> MemoryPlan:
    """Choose the fastest plan within `max_memory` bytes.

    Args:
        config: of the transformer.
        views: context views.
        pixels_per_view: pixels of a resized context view.
        prediction_tokens: tokens of all tasks and targets of one pass.
        ensemble_size: members in all.
        bytes_per_value: of the weights' dtype.
        max_memory: the limit, or None for everything at once.

    Raises:
        ValueError: if no plan fits; it names the smallest limit that would.
    """
    scene_tokens = views * pixels_per_view // 16
    inner = min(config.latent_dim, config.token_dim)
    cached_width = inner + (config.token_dim if config.token_scene_attention else 0)
    cache = config.num_blocks * 2 * scene_tokens * cached_width * bytes_per_value

    def peak(cached: bool, chunk: int | None, members: int, encoded: int) -> int:
        features = scene_tokens * config.image_feature_dim * bytes_per_value
        tokens = scene_tokens * config.token_dim * bytes_per_value
        # encoding and embedding run before denoising, a few views at a time
        encoding = encoded * pixels_per_view * config.image_feature_dim * 2 * bytes_per_value
        embedding = encoded * pixels_per_view // 16 * (2 * _ray_features(config) + 3 * config.token_dim) * 4
        streams = prediction_tokens * (config.token_dim * (STREAM_COPIES + 2 * config.token_mlp_ratio))
        streams += prediction_tokens * 3 * _ray_features(config)
        streams += config.num_latents * config.latent_dim * (STREAM_COPIES + 2 * config.latent_mlp_ratio)
        denoising = int(members * streams * max(bytes_per_value, 4))
        if cached:
            denoising += cache
        else:
            queries = members * max(config.num_latents, prediction_tokens * config.token_scene_attention)
            scores = queries * config.num_attention_heads * chunk * 3 * 4
            denoising += scores + chunk * config.token_dim * 4 * 4 + queries * config.token_dim * 4 * 4
        return features + tokens + max(encoding, embedding, denoising)

    encoded = min(views, 16)
    if max_memory is None:
        return MemoryPlan(True, None, ensemble_size, encoded, peak(True, None, ensemble_size, encoded))
    chunks = []
    chunk = scene_tokens
    while chunk >= SMALLEST_CHUNK:
        chunks.append(chunk)
        chunk //= 2
    chunks.append(min(SMALLEST_CHUNK, scene_tokens))
    options = [(True, None, members) for members in {ensemble_size: 0, 1: 0}]
    options += [(False, chunk, members) for members in {ensemble_size: 0, 1: 0} for chunk in chunks]
    for encoded_views in {encoded: 0, 1: 0}:
        for cached, chunk, members in options:
            needed = peak(cached, chunk, members, encoded_views)
            if needed <= max_memory:
                return MemoryPlan(cached, chunk, members, encoded_views, needed)
    smallest = peak(False, chunks[-1], 1, 1)
    raise ValueError(
        f"max_memory={max_memory} bytes is too little for {views} context views ({scene_tokens} tokens); at least "
        f"{smallest} bytes are needed, or give max_context_views to use only the nearest ones"
    )


def _ray_features(config) -> int:
    waves = 1 if config.ray_encoding_sine_only else 2
    bands = config.origin_bands + config.direction_bands
    return 3 * (waves * bands + 2) + 6 + config.ray_points * 27
