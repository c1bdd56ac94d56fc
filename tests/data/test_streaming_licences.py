"""Only rows whose licence is allowed are read; nothing that is not known to be allowed slips through."""

import pytest
from tiny_rows import broken, keys, rows

from anyviews.data import open_samples
from anyviews.data.licences import COMMERCIAL, NOT_COMMERCIAL, is_allowed
from anyviews.data.shards import write_shards


LICENCES = ["cc-by-4.0", "cc-by-nc-4.0", "", "CC0-1.0", "cc-by-nc-sa-4.0", "unknown", "apache-2.0", "cc-by-sa-4.0"]


def licensed_rows(licences):
    for i, licence in enumerate(licences):
        yield from rows(1, start=i, licence=licence)


@pytest.fixture
def folder(tmp_path):
    write_shards(licensed_rows(LICENCES * 3), tmp_path, num_shards=2)
    return str(tmp_path)


def test_commercial(folder):
    samples = open_samples(folder, allow="commercial", block=4)
    assert sorted(keys(samples)) == [f"{i:03d}" for i in range(24) if i % 8 in (0, 3, 6, 7)]
    assert samples.refused == 12 and samples.skipped == 0


def test_all_and_named_licences(folder):
    samples = open_samples(folder)
    assert len(keys(samples)) == 24 and samples.refused == 0
    named = open_samples(folder, allow=["cc0-1.0", "cc-by-nc-4.0"])
    assert sorted(keys(named)) == [f"{i:03d}" for i in range(24) if i % 8 in (1, 3)]


def test_refused_rows_are_not_decoded_and_do_not_count_as_corrupt(tmp_path):
    found = list(licensed_rows(["cc-by-nc-4.0"] * 9 + ["mit"] * 9))
    write_shards([broken(row) if i < 9 else row for i, row in enumerate(found)], tmp_path, num_shards=2)
    samples = open_samples(str(tmp_path), allow="commercial", max_skipped=0.0)
    assert len(keys(samples)) == 9 and (samples.refused, samples.skipped) == (9, 0)


def test_resume_keeps_the_count(folder):
    samples = open_samples(folder, allow="commercial", block=4)
    expected = keys(samples)
    stream = iter(samples)
    taken = [next(stream).key for _ in range(5)]
    resumed = open_samples(folder, allow="commercial", block=4)
    resumed.load_state_dict(samples.state_dict())
    assert taken + keys(resumed) == expected and resumed.refused == 12


def test_a_licence_in_no_table_is_refused_by_name(tmp_path):
    write_shards(licensed_rows(["mit", "house-rules-1.0"]), tmp_path, num_shards=1)
    with pytest.raises(ValueError, match=r"row \d of train-.*'house-rules-1.0' permits .* not known; .*allow=\["):
        list(open_samples(str(tmp_path), allow="commercial"))
    assert len(keys(open_samples(str(tmp_path), allow=["house-rules-1.0"]))) == 1


def test_an_epoch_without_allowed_rows(tmp_path):
    write_shards(licensed_rows(["cc-by-nc-4.0"] * 6), tmp_path, num_shards=2)
    with pytest.raises(ValueError, match=r"has no row whose licence is allowed .*anyviews data info"):
        list(open_samples(str(tmp_path), allow="commercial"))


def test_a_reader_without_allowed_rows_among_others_is_no_error(tmp_path):
    write_shards(licensed_rows(["mit"] + ["cc-by-nc-4.0"] * 5), tmp_path, num_shards=2)
    read = [keys(open_samples(str(tmp_path), allow="commercial", rank=rank, world_size=2)) for rank in range(2)]
    assert sorted(read) == [[], ["000"]]


def test_tables():
    assert not COMMERCIAL & NOT_COMMERCIAL
    assert not any("-nc" in licence or "-nd" in licence for licence in COMMERCIAL)
    for licence in ("cc-by-nc-2.0", "cc-by-nc-nd-4.0", "cc-by-nd-3.0", "", "other"):
        assert not is_allowed(licence, "commercial")
    with pytest.raises(ValueError, match=r"allow='mit' is unknown; accepted are 'commercial', .* \['mit'\]"):
        open_samples("procedural-rooms", allow="mit")
