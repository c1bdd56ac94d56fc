"""Convert a public dataset to parquet shards, scene by scene; run it again to go on after an interruption.

python utils/convert_dataset.py scannet SCANNET_FOLDER -o FOLDER --size 256x256 --views 12 --samples-per-scene 20
python utils/convert_dataset.py co3d CO3D_FOLDER -o FOLDER --size 256x256 --views 8 --option subset=fewview_dev
"""

import argparse
import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from make_shards import image_size

from anyviews.data.adaptors import ADAPTORS, Adaptor, open_adaptor, own_options
from anyviews.data.manifest import MANIFEST, read_manifest
from anyviews.data.schema import Row, encode_sample, features
from anyviews.data.shards import write_shards
from anyviews.formats.files import new_file


# What decides the rows; rows that were converted with other settings are not mixed in.
SETTINGS = (
    *("dataset", "folder", "split", "views", "samples_per_scene", "size", "stride", "selection", "min_views", "seed"),
    *("licence", "image_format", "quality", "options"),
)


def named_value(text: str) -> tuple[str, Any]:
    """(name, value) from "name=value"; the value is JSON, or else text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not an option; accepted is NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings as they are kept beside the converted scenes."""
    values = {name: getattr(arguments, name) for name in SETTINGS}
    return json.loads(json.dumps(values | {"folder": str(arguments.folder.resolve())}))


@lru_cache(maxsize=1)
def adaptor_of(settings: str) -> Adaptor:
    """The adaptor of some settings; one per process, because some read large annotations."""
    values = json.loads(settings)
    return open_adaptor(
        values["dataset"],
        values["folder"],
        views_per_sample=values["views"],
        size=None if values["size"] is None else tuple(values["size"]),
        **{name: values[name] for name in ("split", "samples_per_scene", "stride", "selection", "seed", "licence")},
        **({} if values["min_views"] is None else {"min_views": values["min_views"]}),
        **values["options"],
    )


def convert_scene(settings: str, scene: str, path: Path) -> list[str]:
    """Write the rows of one scene as one file; none if it has none. Returns what could not be read."""
    torch.set_num_threads(1)
    adaptor, values = adaptor_of(settings), json.loads(settings)
    adaptor.problems.clear()
    try:
        samples = adaptor.read(scene)
        rows = [encode_sample(sample, values["image_format"], values["quality"]) for sample in samples]
    except ValueError as error:
        adaptor.add_problem(scene, "", error)
        rows = []
    if rows:
        with new_file(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=features().arrow_schema), temporary)
    return [str(problem) for problem in adaptor.problems]


def convert(arguments: argparse.Namespace, scenes: list[str], work: Path) -> list[str]:
    """Convert all scenes that are not in `work` yet; returns the problems of these, one a line."""
    files = scene_files(scenes, work)
    left = [scene for scene in scenes if not files[scene].exists()]
    if len(left) < len(scenes):
        print(f"{len(scenes) - len(left)} of {len(scenes)} scenes were converted before")
    settings, problems = json.dumps(settings_of(arguments)), []
    if arguments.workers == 1:
        results = (convert_scene(settings, scene, files[scene]) for scene in left)
    else:
        # a process that is forked after torch has started threads can hang
        pool = ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"))
        results = pool.map(convert_scene, [settings] * len(left), left, [files[scene] for scene in left])
    for number, (scene, found) in enumerate(zip(left, results, strict=True), start=1):
        problems += found
        state = "converted" if files[scene].exists() else "left out"
        print(f"{number}/{len(left)} {scene}: {state}" + (f", {len(found)} problems" if found else ""), flush=True)
    return problems


def scene_files(scenes: list[str], work: Path) -> dict[str, Path]:
    """Where the rows of each scene are kept; names of scenes may hold slashes."""
    return {scene: work / f"{hashlib.sha256(scene.encode()).hexdigest()[:24]}.parquet" for scene in scenes}


def prepare(arguments: argparse.Namespace, work: Path) -> None:
    """Make the folder of converted scenes, or see that the one there has the same settings."""
    settings, path = settings_of(arguments), work / "settings.json"
    if arguments.restart:
        shutil.rmtree(work, ignore_errors=True)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in settings if before.get(name) != settings[name])
        if changed:
            raise SystemExit(
                f"{work} holds scenes converted with other values of {', '.join(changed)}; give the same ones, "
                "another --output, or --restart"
            )
        return
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def write(arguments: argparse.Namespace, files: list[Path], licence: str) -> dict[str, Any]:
    """Write the rows of all converted scenes as shards; returns the manifest's entry."""
    count = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    try:
        return write_shards(
            read_rows(files),
            arguments.output,
            # never more shards than samples
            num_shards=min(arguments.shards, count),
            split=arguments.split,
            seed=arguments.seed,
            license=licence,
        )
    except FileExistsError as error:
        # an earlier run was stopped while its complete shards were moved to their place, and they are there now
        raise SystemExit(f"{error}, or take what an earlier run has written") from error


def read_rows(files: list[Path]) -> Iterator[Row]:
    for file in files:
        yield from pq.read_table(file).to_pylist()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(ADAPTORS))
    parser.add_argument("folder", type=Path, help="where the dataset was unpacked")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder; other splits in it are kept")
    parser.add_argument("--split", default="train", help="of the dataset, and of the shards")
    parser.add_argument("--size", type=image_size, help="HEIGHTxWIDTH; default: that of the files")
    parser.add_argument("--views", type=int, help="images of a sample; default: all of the scene")
    parser.add_argument("--samples-per-scene", type=int, default=1)
    parser.add_argument("--stride", type=int, default=1, help="take every N-th frame into account")
    parser.add_argument("--selection", choices=["spread", "window", "random"], default="spread")
    parser.add_argument("--min-views", type=int, help="leave out samples with fewer images; default 2")
    parser.add_argument("--seed", type=int, default=0, help="of the selection and of the order of rows")
    parser.add_argument("--licence", help="Hub identifier, if you know it better than the dataset's default")
    parser.add_argument(
        "--option", dest="options", type=named_value, action="append", default=[], metavar="NAME=VALUE"
    )
    parser.add_argument("--shards", type=int, default=8, help="a multiple of processes x workers of the reader")
    parser.add_argument("--image-format", choices=["png", "jpeg"], default="png")
    parser.add_argument("--quality", type=int, default=92, help="of JPEG")
    parser.add_argument("--limit", type=int, help="convert the first scenes only")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--restart", action="store_true", help="forget scenes that were converted before")
    arguments = parser.parse_args()
    arguments.options = dict(arguments.options)
    if unknown := sorted(set(arguments.options) - own_options(arguments.dataset)):
        known = ", ".join(sorted(own_options(arguments.dataset))) or "none"
        parser.error(f"{arguments.dataset} does not take {', '.join(unknown)}; accepted are {known}")
    return arguments


def main():
    arguments = parse_arguments()
    adaptor_of.cache_clear()
    split, output = arguments.split, arguments.output
    if (output / MANIFEST).is_file() and split in read_manifest(output)["splits"]:
        raise SystemExit(f"{output} holds the split {split!r} already; give another --output")
    work = output / f".converted-{split}"
    prepare(arguments, work)
    adaptor = adaptor_of(json.dumps(settings_of(arguments)))
    scenes = adaptor.require_scenes()[: arguments.limit]
    # categories and files that hold many scenes, and could not be read
    problems = [str(problem) for problem in adaptor.problems]
    problems += convert(arguments, scenes, work)
    if problems:
        log = output / f"problems-{split}.txt"
        log.write_text("\n".join(problems) + "\n", encoding="utf-8")
        print(f"{len(problems)} problems are listed in {log}")
    files = [file for file in scene_files(scenes, work).values() if file.exists()]
    if not files:
        raise SystemExit(f"none of {len(scenes)} scenes could be converted; the first problem: {problems[0]}")
    entry = write(arguments, files, arguments.licence or adaptor.licence)
    shutil.rmtree(work)
    print(
        f"{output}: {entry['rows']} samples of {len(files)} of {len(scenes)} scenes, in {len(entry['shards'])} shards"
    )


if __name__ == "__main__":
    main()
