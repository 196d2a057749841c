"""What a run reports of itself."""

import logging

import pytest

from codeparrot.training.monitor import Monitor


def test_a_peak_that_was_measured_beside_other_work_is_raised_to_what_is_reached(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor.__new__(Monitor)
    monitor._peak, monitor._peak_raised = 1.0e9, False  # that of a CPU in a type that it is slow in
    logging.getLogger("codeparrot").propagate = True
    with caplog.at_level(logging.INFO, "codeparrot"):
        for reached in (0.9e9, 1.5e9, 1.504e9, 1.64e9, 1.6e9):
            monitor._raise_peak(reached)
            assert reached / monitor._peak <= 1
    assert monitor._peak == 1.64e9
    (line,) = caplog.messages
    assert line.startswith("the peak of 0.001 TFLOP/s was measured too low: 0.0015 were reached")
