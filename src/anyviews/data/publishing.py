"""Uploading a folder of shards to the Hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import validate_repo_id

from .verification import verify_shards


def push_shards(folder: str | Path, repository: str, *, private: bool = False) -> str:
    """Upload a folder of shards with its manifest and card to a dataset repository, which is made if need be.

    Checksums are compared first. Shards that the repository holds and the folder does not are removed from it. The
    token is the one of `hf auth login` or HF_TOKEN; an upload that was interrupted continues when it is repeated.

    Args:
        folder: written by `write_shards`.
        repository: "owner/name", or "name" for one of your own.
        private: whether only you and your organisation can see it.

    Returns:
        The repository's id, for `open_samples`.

    Raises:
        FileNotFoundError: if the folder has no manifest or no card.
        PermissionError: if it is to be private but exists and is public.
        ValueError: if the files are not those of the manifest, or for an impossible repository name.
    """
    folder = Path(folder)
    validate_repo_id(repository)
    verify_shards(folder)
    if not (folder / "README.md").is_file():
        raise FileNotFoundError(f"{folder} has no README.md, and data without a card is not published; write one")
    api = HfApi()
    identity = api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True).repo_id
    if private and not api.repo_info(identity, repo_type="dataset").private:
        raise PermissionError(
            f"{identity} exists and is public; make it private in its settings first, or leave --private out"
        )
    api.upload_folder(
        repo_id=identity,
        repo_type="dataset",
        folder_path=folder,
        allow_patterns=["README.md", "manifest.json", "data/*.parquet"],
        delete_patterns=["data/*.parquet"],
        commit_message="Publish shards",
    )
    return identity
