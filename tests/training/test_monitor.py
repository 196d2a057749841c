"""What a run reports of itself."""

import logging

import pytest

from codeparrot.training.monitor import Monitor


def test_a_peak_that_was_measured_beside_other_work_is_raised_to_what_is_reached(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor.__new__(Monitor)
    monitor._peak, monitor._peak_raised = 1.0e12, False
    logging.getLogger("codeparrot").propagate = True
    with caplog.at_level(logging.INFO, "codeparrot"):
        for reached in (0.9e12, 1.5e12, 1.504e12, 1.64e12, 1.6e12):
            monitor._raise_peak(reached)
            assert reached / monitor._peak <= 1
    assert monitor._peak == 1.64e12
    (line,) = caplog.messages
    assert line.startswith("the peak of 1.00 TFLOP/s was measured too low: 1.50 were reached")
