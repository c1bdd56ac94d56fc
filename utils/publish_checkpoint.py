"""Publish a checkpoint on the Hugging Face Hub in one commit, so that people without this package can load it.

    python utils/publish_checkpoint.py CHECKPOINT_DIR OWNER/NAME [--card model_cards/NAME.md] [--dry-run]

CHECKPOINT_DIR is what `save_pretrained` or a training script wrote, with whatever else belongs to the model, such as a
sample; training checkpoints, logs, validation pictures and hidden files stay out. The modules of this package that the
method needs are added as one file of code. Weights of an earlier publication that the folder no longer has are
removed, because loaders prefer left-over shards to a new single file. See docs/publishing.md.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import HfApi

from anyviews.app.space import space_files
from anyviews.evaluation.cards import card_problems
from anyviews.publishing.repository_files import (
    CARD,
    SAMPLE,
    checkpoint_files,
    file_size,
    find_problems,
    repository_files,
)
from anyviews.publishing.upload import check_access, check_name, upload


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a folder, list what would be uploaded, and publish it."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    space = None
    try:
        check_name(options.repo_id)
        if options.space is not None:
            space = options.space or f"{options.repo_id}-app"
            check_name(space)
    except ValueError as error:
        parser.error(str(error))
    if not options.checkpoint_dir.is_dir():
        parser.error(f"{options.checkpoint_dir} is not a folder")

    with tempfile.TemporaryDirectory() as folder:
        files = checkpoint_files(options.checkpoint_dir)
        problems = add_sample(files, options.sample, options.sample_licence, Path(folder))
        card = options.card or files.get(CARD)
        problems += find_problems(options.checkpoint_dir, files) + problems_of_card(card, options)
        if problems:
            parser.error("nothing was uploaded:\n  " + "\n  ".join(problems))
        uploads = {("model", options.repo_id): repository_files(files, options.repo_id, card.read_text("utf-8"))}
        if space is not None:
            uploads["space", space] = space_files(options.repo_id)
        for (_, name), content in uploads.items():
            list_files(name, content)
        if options.dry_run:
            print(f"dry run: nothing was uploaded to {', '.join(name for _, name in uploads)}")
            return
        try:
            publish(uploads, options.private)
        except (PermissionError, ValueError) as error:
            parser.exit(1, f"nothing was uploaded: {error}\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint_dir", type=Path, help="folder with model_index.json or config.json")
    parser.add_argument("repo_id", help="OWNER/NAME; the owner is you or an organisation")
    parser.add_argument("--card", type=Path, help="becomes README.md; by default the README.md of the folder")
    parser.add_argument("--sample", type=Path, help="folder of a small example input, published as sample/")
    parser.add_argument("--sample-licence", help="who may use the sample, where its folder has no LICENSE file")
    parser.add_argument(
        "--space", nargs="?", const="", metavar="OWNER/NAME", help="a Space with the app, too (default: REPO_ID-app)"
    )
    parser.add_argument("--private", action="store_true", help="only you and your organisation can see it")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")
    return parser


def add_sample(files: dict[str, Path], sample: Path | None, licence: str | None, folder: Path) -> list[str]:
    """Add an example input and its licence to the files of a checkpoint, or say what is wrong with it.

    Args:
        files: of the checkpoint, which are changed.
        sample: the folder of the example, unless the checkpoint's has it.
        licence: what its licence file says, unless it has one.
        folder: for the licence file.
    """
    if sample is not None:
        if not sample.is_dir():
            return [f"--sample {sample} is not a folder"]
        for name in [name for name in files if name.startswith(f"{SAMPLE}/")]:
            del files[name]
        files |= {f"{SAMPLE}/{name}": path for name, path in checkpoint_files(sample).items()}
    if licence is not None:
        if not any(name.startswith(f"{SAMPLE}/") for name in files):
            return ["--sample-licence is given without a sample; give its folder with --sample"]
        file = folder / "LICENSE"
        file.write_text(f"{licence}\n", encoding="utf-8")
        files[f"{SAMPLE}/LICENSE"] = file
    return []


def problems_of_card(card: Path | None, options: argparse.Namespace) -> list[str]:
    if card is None:
        return [f"{options.checkpoint_dir} has no {CARD}; write a card and give it with --card model_cards/NAME.md"]
    if not card.is_file():
        return [f"--card {card} does not exist"]
    return [f"{card}: {problem}" for problem in card_problems(card.read_text(encoding="utf-8"))]


def list_files(name: str, files: Mapping[str, Path | bytes]) -> None:
    print(f"{name}:")
    for inside, content in files.items():
        print(f"{file_size(content):>15,}  {inside}")
    print(f"{sum(map(file_size, files.values())):>15,}  bytes in {len(files)} files")


def publish(uploads: Mapping[tuple[str, str], Mapping[str, Path | bytes]], private: bool) -> None:
    """Upload to repositories, by (type, name), which are created if need be; all are checked before the first."""
    api = HfApi()
    for repo_type, name in uploads:
        check_access(api, name, repo_type, private)
    for (repo_type, name), files in uploads.items():
        sdk = "gradio" if repo_type == "space" else None
        address = api.create_repo(name, repo_type=repo_type, private=private or None, space_sdk=sdk, exist_ok=True)
        for outdated in upload(api, name, files, f"Publish {'app' if sdk else 'checkpoint'}", repo_type):
            print(f"removed {outdated} of an earlier publication")
        print(f"published: {address}")


if __name__ == "__main__":
    main()
