"""Stopping: the first signal asks, the second ends."""

import os
import signal
import subprocess
import sys
import time

from codeparrot.preemption import StopRequest


def test_the_first_signal_only_asks_and_a_repeated_one_at_once_is_the_same_request(capfd) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert capfd.readouterr().err.count("finished and saved first") == 1


def test_signals_are_what_they_were_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_second_ctrl_c_ends_the_process_at_once() -> None:
    code = (
        "import time; from codeparrot.preemption import StopRequest\n"
        "with StopRequest():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(1.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "stopped at once" in err
