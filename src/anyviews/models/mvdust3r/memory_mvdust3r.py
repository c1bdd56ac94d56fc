"""How much memory inference takes, stated before anything is computed. It grows linearly with the number of views."""

from .configuration_mvdust3r import MVDust3rPlusConfig
from .winograd_mvdust3r import working_bytes


# Copies of the tokens of all views (encoder), or of all views in all paths (decoder), that live at the same time.
ENCODER_COPIES = 12
DECODER_COPIES = 14


def peak_bytes(
    config: MVDust3rPlusConfig,
    views: int,
    height: int,
    width: int,
    head_views: int | None = 8,
    batch: int = 1,
    num_references: int | None = None,
    all_paths: bool = False,
    bytes_per_value: int = 4,
) -> int:
    """Bytes that `MVDust3rPlusModel.forward` needs without gradients, beside the weights and the given images.

    It holds for attention that never writes its scores out (SDPA's fused kernels, flash), and leaves out what
    convolutions and attention take for themselves while they run.

    Args:
        config: of the model.
        views, height, width: of the images, in pixels.
        head_views: views at a time in the heads; None for all.
        batch: scenes.
        num_references: by default as many as config.num_references and the views allow.
        all_paths: whether the heads run for every path.
        bytes_per_value: of the weights: 4 for float32, also under autocast.
    """
    num_references = min(config.num_references, views) if num_references is None else num_references
    paths = num_references if config.has_fusion or all_paths else 1
    head_paths = paths if all_paths else 1
    pixels = height * width
    tokens = batch * views * (pixels // config.patch_size**2)
    encoded = tokens * config.encoder_hidden_size * bytes_per_value
    decoded = tokens * config.decoder_hidden_size * bytes_per_value

    widths = [3, 1]  # points and confidence
    if config.use_gaussians:
        widths += [1, 3, 4]
        if config.gaussian_colors == "head":
            widths.append(3 * (config.harmonics_degree + 1) ** 2)
    in_heads = batch * head_paths * views
    chunk = batch * head_paths * max(1, views - 1)  # the references have a head of their own
    if head_views is not None:
        chunk = min(chunk, batch * max(1, head_views // batch))
    # per pixel: two layers of skip channels beside the raw points, or the outputs and the widest one while it is made
    making = max(2 * config.skip_hidden_size + 8 if config.use_skip else 0, sum(widths) + 2 * max(widths) + 4)
    working = max(chunk * making, in_heads * max(widths))  # at the end, outputs are put in order one by one

    images = batch * views * 3 * pixels * 4
    encoding = ENCODER_COPIES * encoded
    decoding = encoded + DECODER_COPIES * paths * decoded
    folded = 25 * config.skip_hidden_size**2 if config.use_skip else 0  # weights of one layer with its normalisation
    convolving = working_bytes(height, width, config.skip_hidden_size, 4) if config.use_skip else 0
    predicting = 4 * folded + convolving + head_paths * decoded + pixels * 4 * (in_heads * sum(widths) + working)
    return images + max(encoding, decoding, predicting)


def plan_head_views(
    config: MVDust3rPlusConfig, views: int, height: int, width: int, max_memory: int | None, **options
) -> int | None:
    """The largest `head_views` with which a forward pass keeps within a limit; None, for all, without a limit.

    Args:
        config, views, height, width: as of `peak_bytes`, and `options` its other arguments.
        max_memory: bytes.

    Raises:
        ValueError: if one view at a time does not fit either; it names the least that would.
    """
    if max_memory is None:
        return None
    least = peak_bytes(config, views, height, width, head_views=1, **options)
    if least > max_memory:
        raise ValueError(
            f"max_memory={max_memory} bytes is too little for {views} views of {height}x{width} pixels; at least "
            f"{least} bytes are needed. Give that, or fewer views"
        )
    fitting = 1
    while fitting < views and peak_bytes(config, views, height, width, fitting + 1, **options) <= max_memory:
        fitting += 1
    return fitting
