"""Uploading to the Hub: what can be refused is refused before anything is there, and all files come in one commit."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from .repository_files import WEIGHT_SUFFIXES


TYPES = {"model": "a model", "dataset": "a data set", "space": "a Space"}

NEW_TOKEN = "make one that may write at https://huggingface.co/settings/tokens and run hf auth login"


def check_name(repository: str) -> None:
    """Raise ValueError unless a name is owner/name, as the Hub accepts it."""
    validate_repo_id(repository)
    if repository.count("/") != 1:
        raise ValueError(f"{repository!r} names no owner; give OWNER/NAME, with your user name or an organisation")


def check_access(api: HfApi, repository: str, repo_type: str = "model", private: bool = False) -> None:
    """Check, without writing, that an upload to a repository can succeed.

    Args:
        api: with the token.
        repository: owner/name.
        repo_type: "model" or "space".
        private: whether it is to be private.

    Raises:
        PermissionError: if there is no token, it may not write there, or the repository is public and must not be.
        ValueError: if the name is none, or taken by a repository of another type.
    """
    check_name(repository)
    try:
        account = api.whoami()
    except LocalTokenNotFoundError as error:
        raise PermissionError(f"you are not logged in to the Hub; {NEW_TOKEN}") from error
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 401:
            raise
        raise PermissionError(f"the Hub does not know your token; {NEW_TOKEN}") from error
    _check_token(account, repository)
    if api.repo_exists(repository, repo_type=repo_type):
        found = api.repo_info(repository, repo_type=repo_type)
        if private and not found.private:
            raise PermissionError(
                f"{repository} exists and is public, so --private cannot hold; make it private in its settings "
                "first, or leave --private out"
            )
        if repo_type == "space" and found.sdk != "gradio":
            raise ValueError(
                f"{repository} is a Space of {found.sdk}, and the app needs one of gradio; choose another name"
            )
        return
    for other, called in TYPES.items():
        if other != repo_type and api.repo_exists(repository, repo_type=other):
            raise ValueError(
                f"{repository} is {called} already, and {TYPES[repo_type]} of the same name would be taken for it; "
                "choose another name"
            )


def upload(
    api: HfApi, repository: str, files: Mapping[str, Path | bytes], message: str, repo_type: str = "model"
) -> list[str]:
    """Commit files to a repository that exists; returns outdated weights, which this removed.

    Weights that are no longer among the files go, because loaders prefer left-over shards to a new single file.
    """
    outdated = [
        name
        for name in api.list_repo_files(repository, repo_type=repo_type)
        if name.endswith(WEIGHT_SUFFIXES) and name not in files
    ]
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    operations += [CommitOperationDelete(path_in_repo=name) for name in outdated]
    api.create_commit(repository, operations, commit_message=message, repo_type=repo_type)
    return outdated


def _check_token(account: dict, repository: str) -> None:
    """Raise PermissionError if what the Hub says of an account and its token forbids writing."""
    owner = repository.partition("/")[0]
    organisations = {each["name"]: each.get("roleInOrg") for each in account.get("orgs") or []}
    user = account.get("name")
    if owner not in (user, *organisations):
        places = ", ".join([str(user), *organisations])
        raise PermissionError(f"you are logged in as {user}, who has no place called {owner}; yours are {places}")
    if organisations.get(owner) == "read":
        raise PermissionError(
            f"{user} may only read in the organisation {owner}; ask its administrators to let you write"
        )
    token = (account.get("auth") or {}).get("accessToken") or {}
    name = token.get("displayName", "of this machine")
    if token.get("role") == "read":
        raise PermissionError(f"the token {name} may only read; {NEW_TOKEN}")
    if token.get("role") == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or []
        allowed = [
            scope["entity"].get("name")
            for scope in scopes
            if {"repo.write", "repo.content.write"} & set(scope.get("permissions") or [])
        ]
        if owner not in allowed and repository not in allowed:
            raise PermissionError(f"the fine-grained token {name} has no permission to write to {owner}; {NEW_TOKEN}")
