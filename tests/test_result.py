"""What a command says while it works: a bar on a terminal, a line now and then in a log."""

import pytest

from codeparrot import result
from codeparrot.result import progress_bar, say


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands; every read of its seconds gives what is in the list."""
    now = [100.0]
    monkeypatch.setattr(result.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_after_two_seconds_and_then_every_thirty(clock, capsys) -> None:
    with progress_bar(total=100, desc="reading", unit=" files", mininterval=0) as bar:
        for _ in range(100):
            clock[0] += 1.0
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"reading: {n} of 100 files ({n}%)" for n in (2, 32, 62, 92)]
    with progress_bar(total=2, desc="reading") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_work_without_a_known_length_says_how_much_is_done(clock, capsys) -> None:
    for _ in progress_bar(iter(range(3)), desc="skipping", unit=" windows", mininterval=0):
        clock[0] += 40.0
    assert capsys.readouterr().err.splitlines()[0].startswith("skipping: 1 windows, ")


def test_a_text_beside_the_bar_prints_nothing_by_itself(clock, capsys) -> None:
    with progress_bar(["a", "b"], desc="verify") as bar:
        for name in bar:
            bar.set_postfix_str(name)
    assert capsys.readouterr().err == ""


def test_other_processes_say_nothing(clock, capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    say("loading")
    with progress_bar(total=3, shown=False) as bar:
        clock[0] += 100.0
        bar.update()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    say("loading")
    assert capsys.readouterr() == ("", "loading\n")
