"""Facts that hold at any scale: any number of readers, flat memory, decoding in the workers."""

import json
import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_rows import keys, rows
from torchdata.stateful_dataloader import StatefulDataLoader

from anyviews.data import open_samples, streaming
from anyviews.data.rows import Piece, Shards, count_rows, share
from anyviews.data.schema import features
from anyviews.data.shards import ROWS_PER_GROUP, write_shards


ROWS = 100
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Shards of 1, 70 and 29 rows, in several row groups."""
    folder = tmp_path_factory.mktemp("uneven")
    found = list(rows(ROWS))
    for index, (start, stop) in enumerate([(0, 1), (1, 71), (71, ROWS)]):
        table = pa.Table.from_pylist(found[start:stop], schema=features().arrow_schema)
        pq.write_table(table, folder / f"train-{index}.parquet", row_group_size=ROWS_PER_GROUP)
    return str(folder)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 50), st.randoms(use_true_random=False))
def test_every_row_belongs_to_one_reader(counts, readers, order):
    files = tuple(str(i) for i in range(len(counts)))
    shuffled = order.sample(range(len(files)), len(files))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyviews.data.rows.count_rows", lambda file: counts[int(file)])
        shared = [share(Shards("data", files, ()), shuffled, reader, readers) for reader in range(readers)]
    dealt = [
        (piece.file, row)
        for pieces in shared
        for piece in pieces
        for row in range(piece.start, counts[int(piece.file)] if piece.stop is None else piece.stop)
    ]
    assert sorted(dealt) == sorted((file, row) for file in files for row in range(counts[int(file)]))
    if len(files) < readers:
        lengths = [sum(piece.stop - piece.start for piece in pieces) for pieces in shared]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("readers", [2, 3, 4, 7, 64])
def test_any_number_of_readers_sees_everything_once(uneven, readers):
    for epoch in range(2):
        read = []
        for rank in range(readers):
            samples = open_samples(uneven, rank=rank, world_size=readers, block=8)
            samples.set_epoch(epoch)
            read += keys(samples)
        assert sorted(read) == [f"{i:03d}" for i in range(ROWS)]


def test_more_readers_than_rows_leaves_some_without(tmp_path):
    write_shards(rows(3), tmp_path, num_shards=1)
    read = [keys(open_samples(str(tmp_path), rank=rank, world_size=5)) for rank in range(5)]
    assert sorted(read) == [[], [], ["000"], ["001"], ["002"]]


@pytest.mark.parametrize("taken", [0, 1, 6])
def test_resume_with_more_workers_than_shards(uneven, taken):
    def open_loader():
        samples = open_samples(uneven, block=8, transform=lambda sample: (sample.key, sample.seed))
        return StatefulDataLoader(samples, 5, num_workers=5, collate_fn=list)

    expected = list(open_loader())
    assert sorted(key for batch in expected for key, _ in batch) == [f"{i:03d}" for i in range(ROWS)]
    stopped = open_loader()
    stream = iter(stopped)
    assert list(islice(stream, taken)) == expected[:taken]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = open_loader()
    resumed.load_state_dict(state)
    assert list(resumed) == expected[taken:]


def test_states_of_other_readers_and_other_shards_are_refused(uneven, tmp_path):
    state = open_samples(uneven).state_dict()
    with pytest.raises(ValueError, match=r"taken with 1 readers .* but there are 3; resume with the same number"):
        open_samples(uneven, rank=2, world_size=3).load_state_dict(state)
    write_shards(rows(9), tmp_path, num_shards=2)
    with pytest.raises(ValueError, match="taken from other shards than"):
        open_samples(str(tmp_path)).load_state_dict(state)


def test_resume_reads_only_the_row_groups_that_it_needs(uneven, monkeypatch):
    piece = Piece(f"{uneven}/train-1.parquet", start=60)
    opened = []
    original = pq.ParquetFile.iter_batches

    def counted(self, *arguments, **options):
        opened.append(options["row_groups"])
        return original(self, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    numbers = [number for number, _ in streaming.find_shards(uneven, "train").rows(piece)]
    assert numbers == list(range(60, 70)) and opened == [[3], [4]]
    assert count_rows(piece.file) == 70


def test_decoding_happens_in_the_workers(uneven, monkeypatch):
    original = streaming.decode_row
    monkeypatch.setattr(streaming, "decode_row", lambda row: original({**row, "source": str(os.getpid())}))
    decoded_by = set(
        StatefulDataLoader(open_samples(uneven, transform=lambda sample: sample.source), None, num_workers=2)
    )
    assert len(decoded_by) == 2 and str(os.getpid()) not in decoded_by


READ = """
import json, sys
from anyviews.data import open_samples

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

kept, memory = [], []
for count, sample in enumerate(open_samples(sys.argv[1], block=64)):
    if sys.argv[2] == "leaky":
        kept.append(sample)
    if count % 1000 == 999:
        memory.append(resident())
print(json.dumps([count + 1, memory]))
"""


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory):
    """10,000 rows with 8 kB of noise each, in ten shards."""
    folder = tmp_path_factory.mktemp("many")
    noise = random.Random(0)
    some = list(rows(2))
    schema = features().arrow_schema
    for shard in range(10):
        own = ({"scene_id": f"{shard}-{i}", "source": noise.randbytes(4000).hex()} for i in range(1000))
        table = pa.Table.from_pylist([some[i % 2] | facts for i, facts in enumerate(own)], schema=schema)
        pq.write_table(table, folder / f"train-{shard}.parquet", row_group_size=ROWS_PER_GROUP)
    return str(folder)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's count of resident memory")
@pytest.mark.parametrize("how", ["flat", "leaky"])
def test_memory_is_flat_over_ten_thousand_rows(ten_thousand, how):
    """The leaky reader, which keeps all samples, shows that the bound is one that can be broken."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", READ, ten_thousand, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, memory = json.loads(done.stdout)
    assert count == 10_000
    growth = (memory[-1] - memory[1]) / MEGABYTE
    # 8,000 rows of 8 kB are 61 MB
    assert growth < 16 if how == "flat" else growth > 48, f"resident memory grew by {growth:.1f} MB"
