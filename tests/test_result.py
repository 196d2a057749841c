"""What a command says while it works: a bar on a terminal, a line now and then in a log."""

import re
from types import SimpleNamespace

import pytest

from codeparrot import result
from codeparrot.result import progress_bar, say


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands; every read of its seconds gives what is in the list."""
    now = [100.0]
    # Only the module's: event loops of other threads wait by the clock of the process.
    monkeypatch.setattr(result, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_log_gets_a_line_after_two_seconds_and_then_every_thirty(clock, capsys) -> None:
    with progress_bar(total=100, desc="reading", unit="file", mininterval=0) as bar:
        for _ in range(100):
            clock[0] += 1.0
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"reading: {n} of 100 files ({n}%)" for n in (2, 32, 62, 92)]
    with progress_bar(total=2, desc="reading") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_work_without_a_known_length_says_how_much_is_done(clock, capsys) -> None:
    for _ in progress_bar(iter(range(3)), desc="skipping", unit="window", mininterval=0):
        clock[0] += 40.0
    assert capsys.readouterr().err.splitlines()[0].startswith("skipping: 1 windows, ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"total": 60, "unit": "program"}, "work: 26 of 60 programs (43%), "),
        ({"total": 60, "unit": "batch"}, "work: 26 of 60 batches (43%), "),
        ({"total": 60}, "work: 26 of 60 parts (43%), "),
        ({"total": 2600, "unit": "B", "unit_scale": True}, "work: 26.0B of 2.60kB (1%), "),
        ({"unit": "token"}, "work: 26 tokens, "),
        ({"unit": "B"}, "work: 26B, "),
    ],
)
def test_lines_name_several_things_in_the_plural(options, line, clock, capsys) -> None:
    with progress_bar(desc="work", mininterval=0, **options) as bar:
        clock[0] += 40.0
        bar.update(26)
    assert capsys.readouterr().err.startswith(line)


def test_work_inside_of_work_moves_no_cursor(clock, capsys) -> None:
    with progress_bar(total=2, desc="training", unit="step", mininterval=0) as outer:
        for _ in range(2):
            with progress_bar(total=3, desc="evaluation", unit="batch", mininterval=0) as inner:
                for _ in range(3):
                    clock[0] += 20.0
                    inner.update()
            outer.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(re.fullmatch(r"(training|evaluation): \d of \d \w+ .*", line) for line in lines)


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
