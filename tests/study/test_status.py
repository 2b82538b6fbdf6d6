"""The progress of a study: steps counted, time left, and the sentence on one that runs, has ended or was killed."""

import fcntl
import json

import pytest

from lungkeras import cli
from lungkeras.study import status


def steps(*rules):
    return {f"step {place}": (rule, rule, 10.0) for place, rule in enumerate(rules)}


def test_planned_steps_are_listed_and_each_is_counted(tmp_path, capsys):
    status.begin(tmp_path, cores=1)
    status.plan(tmp_path, steps("prepare", "train", "train", "report"))
    assert capsys.readouterr().out == "  4 steps: 1 preparation, 2 trainings, 1 report\n"
    assert status.done(tmp_path / status.NAME, "step 0", 60.0).startswith("1 of 4, about 3 min left")


def test_time_left_is_exact_if_steps_take_as_long_as_others_of_their_kind():
    """One core, steps one after another: 2 of 5 done, the third just begun."""
    took = {"a": 100.0, "b": 40.0}
    state = {"begun": 0.0, "cores": 1, "ended": None, "steps": {}}
    for place, kind in enumerate("abaab"):
        state["steps"][place] = {"rule": "train", "kind": kind, "nominal": 1.0, "seconds": None, "ended": None}
    state["steps"][0] |= {"seconds": took["a"], "ended": 100.0}
    state["steps"][1] |= {"seconds": took["b"], "ended": 140.0}
    assert status.seconds_left(state, now=140.0) == pytest.approx(240.0)
    assert status.seconds_left(state, now=170.0) == pytest.approx(210.0)


def test_side_by_side_steps_share_the_time():
    state = {"begun": 0.0, "cores": 2, "ended": None, "steps": {}}
    for place in range(6):
        is_done = place < 2
        state["steps"][place] = {"rule": "train", "kind": "a", "nominal": 1.0, "seconds": 100.0 if is_done else None,
                                "ended": 100.0 if is_done else None}  # fmt: skip
    assert status.seconds_left(state, now=100.0) == pytest.approx(200.0)


def test_there_is_no_estimate_before_a_step_has_ended(tmp_path):
    status.begin(tmp_path, cores=2)
    status.plan(tmp_path, steps("train", "train"))
    state = json.loads((tmp_path / status.NAME).read_text())
    assert status.far(state) == "0 of 2"


def test_the_status_of_a_study_is_given_before_during_and_after_its_run(tmp_path):
    assert "nothing was made yet" in status.sentence(tmp_path, "small")
    status.begin(tmp_path, cores=1)
    status.plan(tmp_path, steps("train", "report"))
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "running for 1 min, 0 of 2" in status.sentence(tmp_path, "small")
    assert "was killed after 0 of 2 steps" in status.sentence(tmp_path, "small")
    status.done(tmp_path / status.NAME, "step 0", 5.0)
    status.end(tmp_path)
    assert "stopped after 1 of 2 steps" in status.sentence(tmp_path, "small")
    status.done(tmp_path / status.NAME, "step 1", 5.0)
    assert "complete, 2 steps" in status.sentence(tmp_path, "small")


@pytest.mark.parametrize("text", ["", "[]", '{"steps": 1}', '{"begun": 1, "ended": 1, "cores": 1, "steps": {"a": 1}}'])
def test_a_broken_file_counts_as_missing(tmp_path, text):
    (tmp_path / status.NAME).write_text(text)
    assert "nothing was made yet" in status.sentence(tmp_path, "small")


def test_the_command_answers_with_status_0(capsys):
    assert cli.main(["status", "demo"]) == 0
    assert "demo: " in capsys.readouterr().out
