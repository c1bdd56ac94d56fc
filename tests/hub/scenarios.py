"""What users of MVGDPipeline do, each run in a process of its own: python scenarios.py NAME FOLDER.

A scenario works in FOLDER. It writes the pictures that it generates to FOLDER/<name>.npz, and what else it found to
FOLDER/NAME.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import anyviews


PUSHED = "user/pushed"
PUBLISHED = "user/published"


def micro_pipeline():
    """An untrained pipeline of one block whose every weight shows in the result."""
    from anyviews.models.mvgd import default_scheduler

    torch.manual_seed(0)
    transformer = anyviews.MVGDTransformerModel(
        image_size=16,
        patch_size=4,
        num_blocks=1,
        num_layers_per_block=1,
        num_latents=4,
        latent_dim=32,
        num_attention_heads=2,
        token_dim=32,
        image_feature_dim=8,
        image_embed_dim=8,
        origin_bands=2,
        direction_bands=2,
        task_embed_dim=4,
    )
    image_encoder = anyviews.MVGDImageEncoder("conv_stem", channels=8)
    for model in (transformer, image_encoder):
        for parameter in model.parameters():
            # a fresh transformer's output layers are zero and would hide whatever went wrong before them
            torch.nn.init.normal_(parameter, std=0.2)
    return anyviews.MVGDPipeline(image_encoder, transformer, default_scheduler(transformer.config))


def generate(pipeline) -> dict[str, np.ndarray]:
    """Two context views and one target; the same for the same weights."""
    pipeline.set_progress_bar_config(disable=True)
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, 0, 3] = torch.tensor([0.0, 1.0, 0.5])
    intrinsics = torch.tensor([[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]]).expand(3, 3, 3)
    cameras = anyviews.Cameras.create(intrinsics, pose, height=16, width=16)
    photos = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    output = pipeline(
        photos,
        cameras[:2],
        cameras[2:],
        num_inference_steps=2,
        ensemble_size=2,
        generator=torch.Generator().manual_seed(2),
        output_type="np",
    )
    return {"images": output.images, "depths": output.depths}


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in model.state_dict().items()}


def same_weights(first, second) -> bool:
    first, second = parameters(first), parameters(second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def message_of(action) -> str:
    """The text of the ValueError that an action raises; empty if it raises none."""
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


def author(folder: Path) -> dict:
    """Save a pipeline whole, in shards and in bf16, and push it to the Hub."""
    pipeline = micro_pipeline()
    np.savez(folder / "author.npz", **generate(pipeline))
    pipeline.save_pretrained(folder / "whole")
    pipeline.save_pretrained(folder / "sharded", max_shard_size="40KB")
    pipeline.push_to_hub(PUSHED, private=True)
    pipeline.to(torch.bfloat16)
    pipeline.save_pretrained(folder / "bf16", variant="bf16")
    pipeline.push_to_hub(PUSHED, variant="bf16")
    return {}


def from_hub(folder: Path) -> dict:
    """Load by repository id: in float32, the bf16 variant, and what publish_checkpoint.py uploaded."""
    pipeline = anyviews.MVGDPipeline.from_pretrained(PUSHED)
    np.savez(folder / "from_hub.npz", **generate(pipeline))
    low = anyviews.MVGDPipeline.from_pretrained(PUSHED, variant="bf16", dtype=torch.bfloat16)
    published = anyviews.MVGDPipeline.from_pretrained(PUBLISHED)
    np.savez(folder / "published.npz", **generate(published))
    return {
        "bf16": str(low.transformer.dtype),
        "bf16_weights": same_weights(low.transformer, pipeline.transformer.to(torch.bfloat16)),
    }


def from_cache(folder: Path) -> dict:
    """Load by repository id without a network: a component through diffusers alone, then the pipeline."""
    import diffusers

    # nothing but the top-level package has been imported so far
    component = diffusers.AutoModel.from_pretrained(PUSHED, subfolder="transformer")
    pipeline = anyviews.MVGDPipeline.from_pretrained(PUSHED)
    np.savez(folder / "from_cache.npz", **generate(pipeline))
    return {"component": type(component).__name__, "weights": same_weights(component, pipeline.transformer)}


def from_folder(folder: Path) -> dict:
    """Load from folders, and everything that a diffusers user does with components while loading."""
    import diffusers

    load = anyviews.MVGDPipeline.from_pretrained
    np.savez(folder / "from_folder.npz", **generate(load(folder / "whole")))
    np.savez(folder / "sharded.npz", **generate(load(folder / "sharded")))
    low = load(folder / "bf16", variant="bf16", dtype=torch.bfloat16)
    np.savez(folder / "bf16.npz", **generate(low))

    transformer = anyviews.MVGDTransformerModel.from_pretrained(folder / "whole", subfolder="transformer")
    encoder = anyviews.MVGDImageEncoder.from_pretrained(folder / "whole" / "image_encoder")
    own = load(folder / "whole", transformer=transformer, image_encoder=encoder)
    np.savez(folder / "own.npz", **generate(own))

    scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "whole", subfolder="scheduler")
    other = diffusers.DDIMScheduler.from_config(scheduler.config, clip_sample=False)
    swapped = load(folder / "whole", scheduler=other)
    swapped.save_pretrained(folder / "swapped")
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    wrong_target = diffusers.DDIMScheduler.from_config(scheduler.config, prediction_type="sample")
    return {
        "bf16": str(low.transformer.dtype),
        "bf16_weights": same_weights(low.transformer, transformer.to(torch.bfloat16)),
        "own": own.transformer is transformer and own.image_encoder is encoder,
        "swapped": swapped.scheduler is other,
        "swapped_again": load(folder / "swapped").scheduler.config.clip_sample,
        "wrong_family": message_of(lambda: load(folder / "whole", scheduler=flow)),
        "wrong_target": message_of(lambda: load(folder / "whole", scheduler=wrong_target)),
    }


SCENARIOS = {
    "author": author,
    "from_hub": from_hub,
    "from_cache": from_cache,
    "from_folder": from_folder,
}

if __name__ == "__main__":
    scenario, working_folder = sys.argv[1], Path(sys.argv[2])
    found = SCENARIOS[scenario](working_folder)
    (working_folder / f"{scenario}.json").write_text(json.dumps(found), encoding="utf-8")
