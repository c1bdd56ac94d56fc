"""Every job is done once, whatever happens to the processes."""

from worker_functions import answer

from anyviews.data.path_tracing.workers import run_jobs


def test_a_process_that_ends_costs_its_own_job_only(tmp_path):
    names = [1, "killed", 2, "empty", "broken", 3, "exits", 4, "slow"]
    outcomes = list(run_jobs(answer, [(tmp_path, name) for name in names], processes=2, timeout=4))
    found = {outcome.job[1]: outcome for outcome in outcomes}
    assert len(outcomes) == len(names) and set(found) == set(names)
    assert {name: outcome.result for name, outcome in found.items() if outcome.result} == {1: 2, 2: 4, 3: 6, 4: 8}
    reasons = {name: outcome.reason for name, outcome in found.items() if outcome.reason}
    expected = {"killed": "crashed", "exits": "crashed", "empty": "empty", "broken": "error", "slow": "timeout"}
    assert reasons == expected
    assert "signal 9" in found["killed"].message and "exit code 3" in found["exits"].message
    assert found["empty"].message == "nothing to see" and "no such thing" in found["broken"].message
    # no job was begun twice
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == sorted(map(str, names))


def test_nothing_to_do():
    assert list(run_jobs(answer, [], processes=4)) == []
