"""Publish a checkpoint on the Hugging Face Hub, with its card, in one commit.

    python utils/publish_checkpoint.py CHECKPOINT_DIR REPO_ID [--card model_cards/NAME.md] [--private] [--dry-run]

CHECKPOINT_DIR is what `save_pretrained` or a training script wrote, with whatever else belongs to the model, such as a
sample picture; training checkpoints, logs, validation pictures and hidden files stay out. Weights of an earlier
publication that the folder no longer has are removed, because loaders prefer left-over shards to a new single file.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import validate_repo_id


# What a training run leaves beside the exported model.
NOT_PUBLISHED = ("checkpoint-*", "export.partial", "logs", "validation")

PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}

WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json")


def published_files(folder: Path, card: Path | None) -> dict[str, Path]:
    """The files of a checkpoint by their path in the repository; `card`, if given, as README.md."""
    files = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and not any(Path(inside.parts[0]).match(name) for name in NOT_PUBLISHED):
            files[inside.as_posix()] = path
    if card is not None:
        files["README.md"] = card
    return dict(sorted(files.items()))


def find_problems(folder: Path, files: dict[str, Path]) -> list[str]:
    """Why a checkpoint is not fit to be published; empty if it is."""
    problems = []
    if "model_index.json" in files:
        index = json.loads(files["model_index.json"].read_text(encoding="utf-8"))
        components = [name for name, entry in index.items() if isinstance(entry, list) and entry[0] is not None]
        missing = [name for name in components if not any(file.startswith(f"{name}/") for file in files)]
        if missing:
            problems.append(f"{folder}/model_index.json names components without a folder: {', '.join(missing)}")
    elif "config.json" not in files:
        problems.append(f"{folder} has neither model_index.json nor config.json; give a folder of save_pretrained")
    pickles = [name for name in files if Path(name).suffix in PICKLE_SUFFIXES]
    if pickles:
        problems.append(
            f"{folder} has pickles, which can run code on loading: {', '.join(pickles)}; save the weights as "
            "safetensors (save_pretrained does) and remove these files"
        )
    if not any(name.endswith(WEIGHT_SUFFIXES) for name in files):
        problems.append(f"{folder} has no .safetensors file")
    card = files.get("README.md")
    if card is None:
        problems.append(f"{folder} has no README.md; write a card and give it with --card model_cards/NAME.md")
    elif not card.is_file():
        problems.append(f"--card {card} does not exist")
    return problems


def publish(files: dict[str, Path], repo_id: str, private: bool) -> str:
    """Commit the files to a repository, which is created if need be; returns its address.

    Raises:
        PermissionError: if the repository is to be private but is public already.
    """
    api = HfApi()
    repository = api.create_repo(repo_id, private=private or None, exist_ok=True)
    if private and not api.repo_info(repository.repo_id).private:
        raise PermissionError(
            f"{repository} exists and is public, so --private cannot hold; make it private in its settings first, or "
            "leave --private out"
        )
    outdated = [
        name
        for name in api.list_repo_files(repository.repo_id)
        if name.endswith(WEIGHT_SUFFIXES) and name not in files
    ]
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    operations += [CommitOperationDelete(path_in_repo=name) for name in outdated]
    api.create_commit(repository.repo_id, operations, commit_message="Publish checkpoint")
    for name in outdated:
        print(f"removed {name} of an earlier publication")
    return str(repository)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a folder, list it, and publish it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint_dir", type=Path, help="folder with model_index.json or config.json")
    parser.add_argument("repo_id", help="NAME, or ORGANISATION/NAME")
    parser.add_argument("--card", type=Path, help="becomes README.md; by default the README.md of the folder")
    parser.add_argument("--private", action="store_true", help="only you and your organisation can see it")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")
    options = parser.parse_args(arguments)
    if not options.checkpoint_dir.is_dir():
        parser.error(f"{options.checkpoint_dir} is not a folder")
    try:
        validate_repo_id(options.repo_id)
    except ValueError as error:
        parser.error(str(error))

    files = published_files(options.checkpoint_dir, options.card)
    problems = find_problems(options.checkpoint_dir, files)
    if problems:
        parser.error("nothing was uploaded:\n  " + "\n  ".join(problems))

    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in sizes.items():
        print(f"{size:>15,}  {name}")
    print(f"{sum(sizes.values()):>15,}  bytes in {len(sizes)} files")
    if options.dry_run:
        print(f"dry run: nothing was uploaded to {options.repo_id}")
    else:
        print(f"published: {publish(files, options.repo_id, options.private)}")


if __name__ == "__main__":
    main()
