"""Corrupt rows are counted, named and left out, the same on every pass; damaged shards stop the reading by name."""

import json
import logging
import re
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_rows import broken, keys, rows
from torchdata.stateful_dataloader import StatefulDataLoader

from anyviews.data import open_samples
from anyviews.data.rows import DamagedShardError
from anyviews.data.schema import SCHEMA_VERSION
from anyviews.data.shards import write_shards


def damaged_rows(count, bad):
    for i, row in enumerate(rows(count)):
        yield broken(row) if i in bad else row


@pytest.fixture
def folder(tmp_path):
    """40 rows, of which 7 and 21 are corrupt."""
    write_shards(damaged_rows(40, {7, 21}), tmp_path / "data set", num_shards=2)
    return str(tmp_path / "data set")


GOOD = [f"{i:03d}" for i in range(40) if i not in (7, 21)]


def test_corrupt_rows_are_named_once_counted_and_left_out(folder, caplog):
    samples = open_samples(folder, max_skipped=0.1, block=8)
    with caplog.at_level(logging.WARNING, "anyviews"):
        for _ in range(2):
            assert sorted(keys(samples)) == GOOD
            assert samples.skipped == 2 and samples.state_dict()["skipped"] == 2
    assert len(caplog.messages) == 2
    for scene in ("007", "021"):
        named = rf"{folder}: row \d+ of train-0000\d-of-00002.parquet: scene {scene}: column images, view 1 cannot be"
        assert sum(bool(re.search(named, message)) for message in caplog.messages) == 1
    samples.set_epoch(1)
    assert samples.skipped == 0


@pytest.mark.parametrize("taken", range(0, 39, 3))
def test_resume_is_exact_among_corrupt_rows_and_keeps_the_count(folder, taken):
    whole = open_samples(folder, max_skipped=0.1, block=8)
    expected = [(sample.key, sample.seed) for sample in whole]
    stopped = open_samples(folder, max_skipped=0.1, block=8)
    list(islice(iter(stopped), taken))
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = open_samples(folder, max_skipped=0.1, block=8)
    resumed.load_state_dict(state)
    assert resumed.skipped == stopped.skipped
    assert [(sample.key, sample.seed) for sample in resumed] == expected[taken:]
    assert resumed.state_dict() == whole.state_dict() and resumed.skipped == 2


def test_counts_of_workers_are_in_the_state_of_the_loader(folder):
    loader = StatefulDataLoader(
        open_samples(folder, max_skipped=0.2, transform=lambda sample: sample.key), None, num_workers=2
    )
    assert sorted(loader) == GOOD
    assert len(re.findall(r"'skipped': [12]", str(loader.state_dict()))) in (1, 2)


def test_more_than_the_accepted_share_stops(tmp_path):
    write_shards(damaged_rows(40, {1, 5, 9}), tmp_path, num_shards=2)
    with pytest.raises(ValueError, match=r"3 of 40 rows of .* are corrupt, which is more than max_skipped = 0.01"):
        list(open_samples(str(tmp_path)))
    with pytest.raises(ValueError, match=r"1 of \d+ rows .* more than max_skipped = 0 .*column images, view 1"):
        list(open_samples(str(tmp_path), max_skipped=0.0))
    assert len(list(open_samples(str(tmp_path), max_skipped=3 / 40))) == 37


def test_many_corrupt_rows_stop_before_the_end_of_the_epoch(tmp_path):
    row = next(rows(1))
    table = pa.Table.from_pylist([broken(row) | {"scene_id": str(i)} for i in range(60)] + [next(rows(1))])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="11 of 11 rows"):
        list(open_samples(str(tmp_path), block=16))


def test_one_corrupt_row_is_accepted_in_little_data(tmp_path):
    write_shards(damaged_rows(4, {2}), tmp_path, num_shards=1)
    assert len(list(open_samples(str(tmp_path)))) == 3


def test_errors_of_the_transform_are_not_taken_for_corrupt_rows(folder):
    def transform(sample):
        raise ValueError(f"{sample.key} has too few views")

    with pytest.raises(ValueError, match="has too few views"):
        next(iter(open_samples(folder, transform=transform)))


def test_rows_of_a_newer_schema_stop(tmp_path):
    newer = [row | {"schema_version": SCHEMA_VERSION + 1} for row in rows(2)]
    write_shards(newer, tmp_path, num_shards=1)
    with pytest.raises(
        ValueError, match=r"row \d of train-.*: column schema_version is 3 .* install a newer anyviews"
    ):
        list(open_samples(str(tmp_path)))


def cut_rows(content):
    return content[: len(content) // 2]


def flip_a_page(content):
    position = content.index(b"\x89PNG") + 40
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


def drop_the_footer(content):
    return content[: -8 - int.from_bytes(content[-8:-4], "little")]


def lie_about_the_footer(content):
    return content[:-8] + (1 << 30).to_bytes(4, "little") + content[-4:]


def leave_nothing(content):
    return b""


def zero_the_pages(content):
    return content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :]


DAMAGES = [cut_rows, flip_a_page, drop_the_footer, lie_about_the_footer, leave_nothing, zero_the_pages]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("readers", [1, 5])
def test_a_damaged_shard_stops_with_its_name(tmp_path, damage, readers):
    write_shards(rows(30), tmp_path, num_shards=3)
    shard = tmp_path / "data" / "train-00001-of-00003.parquet"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DamagedShardError, match=rf"{shard} cannot be read .* `anyviews data verify {tmp_path}`"):
        for rank in range(readers):
            list(open_samples(str(tmp_path), rank=rank, world_size=readers))


def test_a_flipped_byte_never_becomes_another_picture(tmp_path):
    write_shards(rows(4), tmp_path, num_shards=1)
    shard = tmp_path / "data" / "train-00000-of-00001.parquet"
    content = shard.read_bytes()
    samples = open_samples(str(tmp_path))
    expected = [(sample.key, sample.views.images) for sample in samples]
    start = content.index(b"\x89PNG")
    noticed = 0
    for position in range(start, start + 300, 7):
        shard.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            found = [(sample.key, sample.views.images) for sample in samples]
        except DamagedShardError:
            noticed += 1
        else:  # the byte was not needed, such as one of the statistics in a header
            assert all(a == c and torch.equal(b, d) for (a, b), (c, d) in zip(found, expected, strict=True))
    assert noticed > 20


def test_a_shard_that_vanishes_is_named(tmp_path):
    write_shards(rows(6), tmp_path, num_shards=2)
    samples = open_samples(str(tmp_path))
    shard = tmp_path / "data" / "train-00001-of-00002.parquet"
    shard.unlink()
    with pytest.raises(DamagedShardError, match=rf"{shard} cannot be read .*No such file"):
        list(samples)


def test_files_other_than_the_manifests_are_refused(tmp_path):
    write_shards(rows(6), tmp_path, num_shards=2)
    shard = tmp_path / "data" / "train-00001-of-00002.parquet"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(ValueError, match=f"data/{shard.name} is missing; copy or download"):
        open_samples(str(tmp_path))
    shard.write_bytes(content)
    shard.with_name("train-extra.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"data/train-extra\.parquet is not in manifest\.json"):
        open_samples(str(tmp_path))
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(ValueError, match=r"manifest.json: schema_version is 3 .* install a newer anyviews"):
        open_samples(str(tmp_path))
