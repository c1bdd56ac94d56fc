import json

import pytest
from toy import ToyStream

from anyviews.training.stream import BatchStream


def make_stream(num_workers=0, size=22, batch_size=4):
    dataset = ToyStream(size, 0, 1, transform=lambda number: number)
    return BatchStream(dataset, batch_size, collate=list, num_workers=num_workers)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def test_epochs_differ_and_drop_only_the_incomplete_batch():
    stream = make_stream()
    first, second = take(stream, 5), take(stream, 5)
    for epoch in (first, second):
        numbers = [number for batch in epoch for number in batch]
        assert len(set(numbers)) == 20
    assert first != second
    assert stream.epoch == 1


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_continues_exactly_within_and_across_epochs(num_workers, stop):
    expected = take(make_stream(num_workers), 12)
    stopped = make_stream(num_workers)
    assert take(stopped, stop) == expected[:stop]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = make_stream(num_workers)
    resumed.load_state_dict(state)
    assert take(resumed, 12 - stop) == expected[stop:]


def test_too_little_data_is_an_error_not_an_endless_loop():
    with pytest.raises(ValueError, match="less than one batch of 4 samples"):
        next(make_stream(size=3))


def test_another_number_of_workers_is_refused():
    stream = make_stream(num_workers=0)
    take(stream, 1)
    with pytest.raises(ValueError, match="give --dataloader_num_workers 0"):
        make_stream(num_workers=2).load_state_dict(stream.state_dict())
