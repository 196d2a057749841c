"""A schedule of batches is a function of the step, and its steps take windows without a gap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.checks import check, check_world_size
from codeparrot.config import Config, TrainConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream.batches import batches_of


@st.composite
def schedules(draw) -> list[list[int]]:
    steps = draw(st.lists(st.integers(1, 60), unique=True, max_size=4))
    return [[step, draw(st.integers(1, 9))] for step in sorted(steps)]


@given(st.integers(1, 9), schedules(), st.integers(0, 80))
def test_steps_take_windows_without_a_gap(first, schedule, steps) -> None:
    batches = batches_of(TrainConfig(global_batch_size=first, global_batch_schedule=schedule))
    sizes = [batches.size(step) for step in range(steps)]
    assert batches.before(steps) == sum(sizes)
    for step, size in enumerate(sizes):
        assert size == next((size for begin, size in reversed(schedule) if begin <= step), first)
    assert batches.largest == max([first, *(size for _, size in schedule)])


def test_without_a_schedule_all_are_alike() -> None:
    batches = batches_of({"global_batch_size": 12})  # a manifest of an earlier version
    assert (batches.before(7), batches.size(10**9), str(batches)) == (84, 12, "12 windows")
    grown = batches_of(TrainConfig(global_batch_size=12, global_batch_schedule=[[100, 24], [300, 48]]))
    assert str(grown) == "12 windows, 24 from step 101, 48 from step 301"


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([[8]], r"train\.global_batch_schedule has the entry \[8\]; write \[\[step, windows\], \.\.\.\]"),
        ([[8, 0]], r"has the entry \[8, 0\]"),
        ([[0, 16]], "step 0 is not after step 0"),
        ([[9, 16], [8, 32]], "step 8 is not after step 9; write the steps in order"),
        (
            [[8, 18]],
            r"global_batch_schedule 18 after step 8 is not a multiple of stream\.lanes 4; nearest: 16, or",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule, message) -> None:
    config = Config()
    config.tokenizer.path, config.stream.train, config.stream.lanes = "t", ["x"], 4
    config.train.global_batch_size, config.train.global_batch_schedule = 8, schedule
    with pytest.raises(CodeparrotError, match=message):
        check(config)


def test_processes_must_share_every_size() -> None:
    config = Config()
    config.stream.lanes, config.train.micro_batch_size = 4, 4
    config.train.global_batch_size, config.train.global_batch_schedule = 16, [[8, 24]]
    check_world_size(config, 2)
    message = r"micro_batch_size 4 does not divide 6, .* \(train\.global_batch_schedule over 4\); nearest: 2"
    with pytest.raises(CodeparrotError, match=message):
        check_world_size(config, 4)
