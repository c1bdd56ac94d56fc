"""Shards are complete, named by the manifest, and readable by `datasets` alone."""

import json

import datasets
import pytest
import torch

from anyviews.data.samples import Sample
from anyviews.data.schema import decode_row, encode_sample, features
from anyviews.data.shards import write_shards
from anyviews.data.verification import verify_shards
from anyviews.views import Views


def rows(count):
    for i in range(count):
        yield encode_sample(Sample(f"scene-{i:03d}", Views(torch.full((1 + i % 3, 3, 4, 4), i / 255))))


def test_every_row_is_written_once_in_random_order(tmp_path):
    entry = write_shards(rows(22), tmp_path, num_shards=4, license="cc0-1.0")
    assert sorted(shard["rows"] for shard in entry["shards"]) == [5, 5, 6, 6]
    dataset = datasets.load_dataset(str(tmp_path), split="train", streaming=True)
    assert dataset.features == features()
    keys = [row["scene_id"] for row in dataset]
    assert sorted(keys) == [f"scene-{i:03d}" for i in range(22)]
    assert keys != sorted(keys) and keys[:5] != sorted(keys[:5])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "data", "manifest.json"]
    assert len(list((tmp_path / "data").iterdir())) == 4
    assert "license: cc0-1.0" in (tmp_path / "README.md").read_text()


def test_rows_decode_as_they_were_encoded(tmp_path):
    write_shards(rows(6), tmp_path, num_shards=2)
    for row in datasets.load_dataset(str(tmp_path), split="train", streaming=True).cast(features(decode=False)):
        sample = decode_row(row)
        number, views = int(sample.key[-3:]), sample.views
        assert len(views) == 1 + number % 3
        assert torch.equal(views.images, torch.full_like(views.images, number / 255))
        assert views.cameras is None and views.masks is None and views.depths is None


def test_equal_seeds_write_equal_files(tmp_path):
    one, two, other = (
        write_shards(rows(6), tmp_path / n, num_shards=2, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two != other


def test_splits_share_a_folder(tmp_path):
    write_shards(rows(4), tmp_path, num_shards=2)
    write_shards(rows(3), tmp_path, num_shards=1, split="test")
    assert verify_shards(tmp_path) == {"train": 4, "test": 3}
    for split, count in (("train", 4), ("test", 3)):
        assert len(list(datasets.load_dataset(str(tmp_path), split=split, streaming=True))) == count
    with pytest.raises(FileExistsError, match="already holds the split 'test'"):
        write_shards(rows(3), tmp_path, num_shards=1, split="test")


def test_a_failure_leaves_nothing_half_written(tmp_path):
    def failing():
        yield from rows(3)
        raise RuntimeError("the renderer stopped")

    with pytest.raises(RuntimeError, match="the renderer stopped"):
        write_shards(failing(), tmp_path, num_shards=2)
    with pytest.raises(ValueError, match="3 rows do not fill 4 shards"):
        write_shards(rows(3), tmp_path, num_shards=4)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    write_shards(rows(3), tmp_path, num_shards=3)


def test_verify_names_missing_and_changed_shards(tmp_path):
    write_shards(rows(6), tmp_path, num_shards=3)
    shards = [
        tmp_path / s["file"] for s in json.loads((tmp_path / "manifest.json").read_text())["splits"]["train"]["shards"]
    ]
    shards[0].unlink()
    content = bytearray(shards[2].read_bytes())
    content[len(content) // 2] ^= 1
    shards[2].write_bytes(content)
    with pytest.raises(ValueError) as caught:
        verify_shards(tmp_path)
    message = str(caught.value)
    assert f"data/{shards[0].name} is missing" in message and f"data/{shards[2].name} was changed" in message
    assert shards[1].name not in message
    with pytest.raises(FileNotFoundError, match=r"manifest\.json does not exist"):
        verify_shards(tmp_path / "data")
