"""A folder of meshes becomes a folder of shards; what is done is kept, so that a run can be taken up again."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...formats.mesh_files import MESH_SUFFIXES
from ..shards import write_shards
from ..unfinished import check_new_split, row_file, stored_rows, work_folder, write_json, write_row
from .samples import Settings, render_sample
from .workers import Outcome, run_jobs


FAILURES = "failures.json"


@dataclass(frozen=True)
class Job:
    """One object to render.

    Args:
        path: of its mesh.
        key: its name in the dataset.
        row: the file that its row is written to.
        settings: the options.
    """

    path: Path
    key: str
    row: Path
    settings: Settings


@dataclass(frozen=True)
class Report:
    """What a run gave.

    Args:
        rows: objects in the shards.
        resumed: how many of them an earlier run had rendered.
        failures: object, reason and message of the others.
    """

    rows: int
    resumed: int
    failures: tuple[dict[str, str], ...]

    def counts(self) -> dict[str, int]:
        """Failures by reason."""
        return dict(Counter(failure["reason"] for failure in self.failures))


def render_dataset(
    meshes: Path,
    folder: Path,
    settings: Settings,
    *,
    processes: int = 1,
    limit: int | None = None,
    split: str = "train",
    num_shards: int = 8,
    timeout: float = 3600.0,
    log: Callable[[str], None] = lambda line: None,
) -> Report:
    """Render all meshes below a folder and write them as shards.

    Each object's row is written as soon as it is done, to a hidden folder beside the shards; the same call continues
    where an earlier one was interrupted. Objects that failed are tried again.

    Args:
        meshes: searched for .glb, .obj and PLY files.
        folder: of the shards; other splits in it are kept.
        settings: the options of rendering.
        processes: that render at the same time.
        limit: as many meshes are taken, the first by name.
        split: "train", "test", ...
        num_shards: number of files, at most the number of objects.
        timeout: seconds after which an object is given up.
        log: gets a line for each object.

    Raises:
        FileExistsError: if the split is there already.
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no mesh, an interrupted run had other settings, or another process is at it.
        RuntimeError: if every object failed.
    """
    paths = mesh_files(meshes)[:limit]
    check_new_split(folder, split)
    with work_folder(folder / f".rendering-{split}", settings.record()) as work:
        keys = [path.relative_to(meshes).as_posix() for path in paths]
        jobs = [Job(path, key, row_file(work, key), settings) for path, key in zip(paths, keys, strict=True)]
        todo = [job for job in jobs if not job.row.exists()]
        if len(todo) < len(jobs):
            log(f"{len(jobs) - len(todo)} of {len(jobs)} objects were rendered earlier")
        failures = []
        for done, outcome in enumerate(run_jobs(render_row, todo, processes, timeout), start=1):
            log(f"[{done}/{len(todo)}] {_line(outcome)}")
            if outcome.reason:
                failures.append({"object": outcome.job.key, "reason": outcome.reason, "message": outcome.message})
        failures.sort(key=lambda failure: failure["object"])
        write_json(folder / FAILURES, failures)
        rows = [job.row for job in jobs if job.row.exists()]
        if not rows:
            raise RuntimeError(f"none of {len(jobs)} objects could be rendered; {folder / FAILURES} says why")
        options = {"split": split, "seed": settings.seed, "license": settings.licence}
        write_shards(stored_rows(rows), folder, num_shards=min(num_shards, len(rows)), **options)
        shutil.rmtree(work)
    return Report(len(rows), len(jobs) - len(todo), tuple(failures))


def mesh_files(folder: Path) -> list[Path]:
    """All mesh files below a folder, by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give one that holds meshes ({', '.join(MESH_SUFFIXES)})")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"{folder} holds no mesh; accepted are {', '.join(MESH_SUFFIXES)}")
    return files


def render_row(job: Job) -> tuple[str, ...]:
    """Render one object and write its row; returns what of its file was repaired or left out."""
    sample, notices = render_sample(job.path, job.key, job.settings)
    write_row(job.row, sample)
    return notices


def _line(outcome: Outcome) -> str:
    if outcome.reason:
        return f"{outcome.job.key}: {outcome.reason}: {outcome.message}"
    notices = "".join(f"; {notice}" for notice in outcome.result)
    return f"{outcome.job.key}: {outcome.seconds:.1f} s{notices}"
