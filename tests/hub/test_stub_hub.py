"""The stand-in for the Hub behaves as the Hub does where tests rely on it, seen through huggingface_hub."""

import pytest
from hub.stub_hub import TOKEN, USER, StubHub
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError


@pytest.fixture
def hub():
    with StubHub() as running:
        yield running


@pytest.fixture
def api(hub, monkeypatch) -> HfApi:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return HfApi(endpoint=hub.endpoint, token=TOKEN)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_folder_goes_up_and_comes_down(hub, api, tmp_path, kind):
    contents = {"a.txt": b"first", "deep/er/b.parquet": bytes(range(256)) * 500, "deep/empty": b""}
    for name, content in contents.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(content)
    repository = api.create_repo("things", repo_type=kind).repo_id
    assert repository == f"{USER}/things"
    api.upload_folder(repo_id=repository, repo_type=kind, folder_path=tmp_path / "up")

    assert sorted(api.list_repo_files(repository, repo_type=kind)) == sorted(contents)
    down = api.snapshot_download(repository, repo_type=kind, cache_dir=tmp_path / "cache", allow_patterns="deep/**")
    found = {path.name: path.read_bytes() for path in (tmp_path / "cache" / down).rglob("*") if path.is_file()}
    assert found == {"b.parquet": contents["deep/er/b.parquet"], "empty": b""}
    assert hub.unknown == []


def test_a_part_of_a_file_is_read(hub, api):
    repository = api.create_repo("shards", repo_type="dataset").repo_id
    content = bytes(range(256)) * 40
    api.upload_file(path_or_fileobj=content, path_in_repo="a/b.bin", repo_id=repository, repo_type="dataset")
    files = HfFileSystem(endpoint=hub.endpoint, token=TOKEN, skip_instance_cache=True, use_listings_cache=False)
    assert [entry["name"] for entry in files.ls(f"datasets/{repository}")] == [f"datasets/{repository}/a"]
    with files.open(f"datasets/{repository}/a/b.bin", block_size=1000) as file:
        file.seek(5000)
        assert file.read(10) == content[5000:5010]
    assert hub.unknown == []


def test_a_commit_without_changes_is_not_made(hub, api):
    repository = api.create_repo("same").repo_id
    for _ in range(2):
        api.upload_file(path_or_fileobj=b"content", path_in_repo="file", repo_id=repository)
    assert len(hub.repositories["model", repository].commits) == 2  # the first is the creation
    api.delete_file("file", repository)
    assert hub.repositories["model", repository].files == {}


def test_private_repositories_and_writing_need_the_token(hub, api, tmp_path):
    repository = api.create_repo("hidden", private=True).repo_id
    assert api.model_info(repository).private
    stranger = HfApi(endpoint=hub.endpoint, token=False)
    with pytest.raises(RepositoryNotFoundError):
        stranger.model_info(repository)
    with pytest.raises(HfHubHTTPError, match="401"):
        stranger.create_repo("mine")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("hidden")


def test_what_is_missing_is_named_as_the_hub_names_it(api, tmp_path):
    repository = api.create_repo("things").repo_id
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(repository, "absent.json", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(repository, revision="absent")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("user/absent")


def test_unknown_requests_are_noted(hub, api):
    with pytest.raises(HfHubHTTPError, match="501"):
        api.list_repo_refs(api.create_repo("things").repo_id)
    assert hub.unknown == [f"GET /api/models/{USER}/things/refs"]
