"""Write data for boosting LGM: generated views of objects, and the same views refined (MVBoost, arXiv 2411.17772).

accelerate launch utils/make_boost_dataset.py IMAGES -o SHARDS --checkpoint mvboost --licence cc0-1.0
accelerate launch utils/make_boost_dataset.py OBJECTS -o SHARDS --multiview era3d --reconstructor lgm

IMAGES is a folder of images of objects, transparent around them (or --remove-background); OBJECTS are shards of
samples with masks, of which one view is taken. All processes share the objects. The same command continues a run that
was interrupted.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm import tqdm

from anyviews.data.boosted import boosted_views
from anyviews.data.manifest import MANIFEST
from anyviews.data.rows import Piece, find_shards
from anyviews.data.samples import Sample, derive_seed
from anyviews.data.schema import decode_row
from anyviews.data.shards import write_shards
from anyviews.data.unfinished import check_new_split, row_file, stored_rows, work_folder, write_json, write_row
from anyviews.foreground import REMOVER_NAME, PhotoInput
from anyviews.formats.photos import is_photo
from anyviews.models.lgm import LGMModel
from anyviews.pipelines.pipeline_era3d import FIRST_PASS, NOISE, ZEROS, Era3DPipeline
from anyviews.pipelines.pipeline_mvboost import STRENGTH, MVBoostPipeline
from anyviews.rendering.gaussians import render_on_white


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FAILURES = "failures.json"


@dataclass(frozen=True)
class Source:
    """An image of an object to make views of.

    Args:
        key: its name in the data set.
        image: a file or pixels, with transparency.
        licence: of the image.
    """

    key: str
    image: PhotoInput
    licence: str


class Folder:
    """Images of a folder, by name."""

    def __init__(self, folder: Path, licence: str):
        self.folder, self.licence = folder, licence
        files = sorted(path for path in folder.rglob("*") if path.is_file() and is_photo(path))
        self.keys = [path.relative_to(folder).as_posix() for path in files]

    def read(self, wanted: Sequence[str]) -> Iterator[Source]:
        """Those of some keys."""
        for key in wanted:
            yield Source(key, self.folder / key, self.licence)


class Shards:
    """One view of each sample of a folder or Hub repository of shards."""

    def __init__(self, name: str, split: str, view: int):
        self.view, self.shards = view, find_shards(name, split)
        self.keys = sorted(row["scene_id"] for _, row in self._rows(("scene_id",)))
        if twice := {one for one, other in zip(self.keys, self.keys[1:], strict=False) if one == other}:
            raise ValueError(f"{name} has several samples of the name {min(twice)}; names must be unique")

    def _rows(self, columns: tuple[str, ...]) -> Iterator[tuple[int, dict]]:
        shards = replace(self.shards, columns=columns)
        for file in self.shards.files:
            yield from shards.rows(Piece(file))

    def read(self, wanted: Sequence[str]) -> Iterator[Source]:
        """Those of some keys, in the order of the shards."""
        left = set(wanted)
        kept = tuple(name for name in self.shards.columns if name not in ("depths", "normals", "base_colors"))
        for _, row in self._rows(kept):
            if row["scene_id"] in left:
                sample = decode_row(row)
                views = sample.views
                if views.masks is None or not -len(views) <= self.view < len(views):
                    raise ValueError(
                        f"{sample.key} has {len(views)} views {'and no' if views.masks is None else 'with'} masks; "
                        f"needed are masks, and a view {self.view} (--view)"
                    )
                image = torch.cat([views.images[self.view], views.masks[self.view]])
                yield Source(sample.key, image, sample.licence)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder of images, or a folder or Hub repository of shards")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of shards; other splits are kept")
    parser.add_argument("--checkpoint", help="of MVBoostPipeline; instead of the next two")
    parser.add_argument("--multiview", help="checkpoint of Era3DPipeline")
    parser.add_argument("--reconstructor", help="checkpoint of LGMModel")
    parser.add_argument("--strength", type=float, default=STRENGTH, help="of the refinement, in (0, 1]")
    parser.add_argument("--init-normals", choices=[FIRST_PASS, NOISE, ZEROS], default=FIRST_PASS)
    parser.add_argument("--steps", type=int, help="denoising steps (default: the checkpoint's)")
    parser.add_argument("--guidance-scale", type=float, help="weight of the image (default: the checkpoint's)")
    parser.add_argument("--remove-background", action="store_true", help=f"cut images out by {REMOVER_NAME}")
    parser.add_argument("--image-split", default="train", help="of shards that images are taken from")
    parser.add_argument("--view", type=int, default=0, help="of each of their samples")
    parser.add_argument("--limit", type=int, help="take the first so many objects by name")
    parser.add_argument("--batch-size", type=int, default=8, help="objects generated together, per process")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="of the weights")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, with the object's name")
    parser.add_argument("--licence", help="of a folder's images, as a Hub identifier (shards have their own)")
    parser.add_argument("--split", default="train", help="to write")
    parser.add_argument("--shards", type=int, default=8, help="a multiple of processes x workers of the reader")
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) == (arguments.multiview is None or arguments.reconstructor is None):
        parser.error("give --checkpoint, or both --multiview and --reconstructor")
    if not 0 < arguments.strength <= 1:
        parser.error(f"--strength {arguments.strength}: accepted are numbers in (0, 1]")
    for name in ("limit", "batch_size", "shards"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: accepted is 1 or more")
    return arguments


def open_source(arguments: argparse.Namespace) -> Folder | Shards:
    """The images that the arguments name."""
    folder = Path(arguments.images)
    if folder.is_dir() and not (folder / MANIFEST).exists() and not list(folder.rglob("*.parquet")):
        source = Folder(folder, arguments.licence or "unknown")
    else:
        source = Shards(arguments.images, arguments.image_split, arguments.view)
    source.keys = source.keys[: arguments.limit]
    if not source.keys:
        raise ValueError(f"{arguments.images} holds no images; give a folder of images of objects, or of shards")
    return source


def load_pipeline(arguments: argparse.Namespace, device: torch.device) -> MVBoostPipeline:
    """The generator with the reconstructor, silent."""
    dtype = DTYPES[arguments.dtype]
    if arguments.checkpoint is not None:
        pipe = MVBoostPipeline.from_pretrained(arguments.checkpoint, dtype=dtype)
    else:
        multiview = Era3DPipeline.from_pretrained(arguments.multiview, dtype=dtype)
        pipe = MVBoostPipeline(multiview, LGMModel.from_pretrained(arguments.reconstructor, dtype=dtype).eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def fingerprint(pipe: MVBoostPipeline) -> str:
    """A hash of all weights: rows of two checkpoints must not be mixed."""
    digest = hashlib.blake2b(digest_size=16)
    parts = {**{f"multiview.{k}": v for k, v in pipe.multiview.components.items()}, "lgm": pipe.reconstructor}
    for name in sorted(parts):
        if isinstance(parts[name], torch.nn.Module):
            for key, value in sorted(parts[name].state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def make_samples(pipe: MVBoostPipeline, sources: Sequence[Source], arguments: argparse.Namespace) -> list[Sample]:
    """Generated and refined views of some objects; each depends on its name and the seed, not on the others."""
    seeds = [derive_seed("boost", arguments.seed, source.key) for source in sources]
    sampling = {
        "num_inference_steps": arguments.steps,
        "guidance_scale": arguments.guidance_scale,
        "generator": [torch.Generator(pipe.device).manual_seed(seed % 2**32) for seed in seeds],
    }
    remover = REMOVER_NAME if arguments.remove_background else None
    first = pipe.generate_views([source.image for source in sources], background_remover=remover, **sampling)
    gaussians = pipe.reconstruct(first.images)
    size = first.images.shape[-1]
    refined = pipe.refine_views(
        first, pipe.render_views(gaussians, size), arguments.strength, arguments.init_normals, **sampling
    )
    cameras, azimuths = pipe.view_cameras(size), pipe.config.view_azimuths
    samples = []
    for i, source in enumerate(sources):
        alphas = render_on_white(gaussians[i], cameras.to(gaussians.device)).alphas.cpu().float()
        generated, better = (
            images.unflatten(0, (len(sources), -1))[i].cpu().float() for images in (first.images, refined.images)
        )
        views = boosted_views(generated, better, alphas, cameras, azimuths)
        samples.append(Sample(source.key, views, licence=source.licence, source="anyviews boosting"))
    return samples


def make_rows(
    pipe: MVBoostPipeline, source: Folder | Shards, work: Path, arguments: argparse.Namespace, state: PartialState
) -> None:
    """Rows of this process's share of the objects that have none yet."""
    own = source.keys[state.process_index :: state.num_processes]
    todo = [key for key in own if not row_file(work, key).exists()]
    progress = tqdm(total=len(own), initial=len(own) - len(todo), disable=not state.is_main_process)
    failures, batch = [], []

    def make(batch: list[Source]) -> None:
        try:
            samples = make_samples(pipe, batch, arguments)
        except ValueError as error:
            # an object that cannot be cut out, say; the others of the batch are made without it
            if len(batch) > 1:
                for one in batch:
                    make([one])
                return
            failures.append({"object": batch[0].key, "message": str(error)})
            samples = []
        for sample in samples:
            write_row(row_file(work, sample.key), sample)
        progress.update(len(batch))

    for one in source.read(todo):
        batch.append(one)
        if len(batch) == arguments.batch_size:
            make(batch)
            batch = []
    if batch:
        make(batch)
    write_json(work / f"failures-{state.process_index}.json", failures)


def settings(pipe: MVBoostPipeline, arguments: argparse.Namespace) -> dict:
    """What the rows depend on beside the images."""
    names = ("strength", "init_normals", "steps", "guidance_scale", "seed", "dtype")
    names += ("images", "image_split", "view", "remove_background", "licence")
    return {**{name: getattr(arguments, name) for name in names}, "weights": fingerprint(pipe)}


def run(arguments: argparse.Namespace, state: PartialState) -> None:
    """Make the rows, and put them together on the main process."""
    check_new_split(arguments.output, arguments.split)
    source = open_source(arguments)
    pipe = load_pipeline(arguments, state.device)
    work = arguments.output / f".boosting-{arguments.split}"
    if not state.is_main_process:
        state.wait_for_everyone()  # until the main one has the folder
        make_rows(pipe, source, work, arguments, state)
        state.wait_for_everyone()
        return
    with work_folder(work, settings(pipe, arguments)):
        state.wait_for_everyone()
        make_rows(pipe, source, work, arguments, state)
        state.wait_for_everyone()
        finish(source, work, arguments)


def finish(source: Folder | Shards, work: Path, arguments: argparse.Namespace) -> None:
    """Shards of all rows; each object is in them once, or in failures.json."""
    failures = [one for path in sorted(work.glob("failures-*.json")) for one in json.loads(path.read_text("utf-8"))]
    files = [row_file(work, key) for key in source.keys if row_file(work, key).exists()]
    if not files:
        raise ValueError(f"none of {len(source.keys)} objects gave views; the first: {failures[0]['message']}")
    licences = {row["licence"] for row in stored_rows(files)}
    entry = write_shards(
        stored_rows(files),
        arguments.output,
        num_shards=min(arguments.shards, len(files)),
        split=arguments.split,
        seed=arguments.seed,
        license=licences.pop() if len(licences) == 1 else "other",
    )
    if failures:
        write_json(arguments.output / FAILURES, failures)
        print(f"{len(failures)} objects gave nothing; {arguments.output / FAILURES} says why", file=sys.stderr)
    shutil.rmtree(work)
    print(f"{arguments.output}: {entry['rows']} objects of split {arguments.split} in {len(entry['shards'])} shards")


def main() -> None:
    arguments = parse_arguments()
    state = PartialState(cpu=not torch.accelerator.is_available())
    try:
        run(arguments, state)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"make_boost_dataset.py: {error}")


if __name__ == "__main__":
    main()
