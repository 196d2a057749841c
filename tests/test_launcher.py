"""How a process starts: garbage, its rank whatever other programs left in the environment, its streams, its home."""

import gc
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from codeparrot import cli, launcher
from codeparrot.config import Config, TrainConfig
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.result import STOPPED, Result, failed
from codeparrot.training.processes import start_processes
from tests.launching import write_config


def test_garbage_is_collected_rarely_and_then_as_usual() -> None:
    usual = gc.get_threshold()
    launcher.collect_garbage_rarely()
    assert gc.get_threshold()[0] > usual[0]
    launcher.collect_garbage_as_usual()
    assert gc.get_threshold() == usual and gc.get_freeze_count() > 0
    gc.unfreeze()


@pytest.mark.slow
def test_a_run_trains_with_the_usual_thresholds(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 4})
    code = (
        "import gc, sys; usual = gc.get_threshold(); from codeparrot.cli import main\n"
        "status = main(['train', '--config', sys.argv[1]]); print(status, gc.get_threshold() == usual)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["0 True"], done.stderr


OF_LAUNCHERS = [
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION"),
    *("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_DYNAMO_BACKEND"),
    *("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
]
WHOLE = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def environment(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in OF_LAUNCHERS:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({}, ""),
        ({"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": ""}, ""),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, ""),
        ({"RANK": "1"}, "RANK=1"),
        ({"RANK": "x", "LOCAL_RANK": "3"}, "RANK=x LOCAL_RANK=3"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK=1"),
        ({"WORLD_SIZE": "all"}, "WORLD_SIZE=all"),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, ""),
    ],
)
def test_variables_of_another_program_change_nothing(values, warned, monkeypatch, caplog) -> None:
    environment(monkeypatch, values)
    monkeypatch.setattr(logging.getLogger("codeparrot"), "propagate", True)
    assert launcher.rank() == 0 and launcher.world_size_asked() == 1
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ([warned] if warned else [])
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} & os.environ.keys(), "libraries read them too"


def test_a_launcher_is_believed(monkeypatch) -> None:
    environment(monkeypatch, WHOLE)
    assert (launcher.rank(), launcher.world_size_asked()) == (1, 2) and os.environ["RANK"] == "1"


def test_a_port_where_nobody_meets_is_refused_before_the_processes_wait_for_each_other(monkeypatch) -> None:
    environment(monkeypatch, WHOLE | {"MASTER_PORT": "0"})
    with pytest.raises(CodeparrotError, match=r"MASTER_PORT is 0.*torchrun --standalone"):
        launcher.world_size_asked()


ONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "nowhere", "MASTER_PORT": "99999"}


@pytest.mark.parametrize(
    ("strategy", "kept"), [({}, False), ({"ACCELERATE_USE_FSDP": "true"}, True), ({"PMI_SIZE": "4"}, True)]
)
def test_one_process_needs_no_group_unless_it_is_sharded_or_mpi_speaks_of_more(strategy, kept, monkeypatch) -> None:
    environment(monkeypatch, ONE | strategy)
    assert launcher.world_size_asked() == 1
    assert ("RANK" in os.environ) is kept, "the address may be that of a program that has ended, or is still there"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 but RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "WORLD_SIZE is 2 but LOCAL_RANK is not set"),
        (WHOLE | {"RANK": "2"}, "WORLD_SIZE is 2 but RANK is 2"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_SIZE is 4"),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "PMI_SIZE is 4"),
    ],
)
def test_several_processes_that_no_launcher_started_are_refused(values, named, monkeypatch) -> None:
    environment(monkeypatch, values)
    with pytest.raises(CodeparrotError, match=f"{named}.*accelerate launch.*unset"):
        launcher.world_size_asked()


@pytest.mark.parametrize("values", [{"RANK": "1"}, {"RANK": ""}, {"RANK": "x", "WORLD_SIZE": "y"}, WHOLE])
def test_a_command_of_one_process_prints_its_result_whatever_rank_is_set(values, monkeypatch, capsys) -> None:
    environment(monkeypatch, values)
    monkeypatch.setitem(cli.COMMANDS, "say", cli.Command("tests.test_launcher:say", ""))
    assert cli.main(["say"]) == 0 and capsys.readouterr().out == "said\n"


def test_only_the_first_of_several_processes_prints(monkeypatch, capsys) -> None:
    environment(monkeypatch, WHOLE)
    monkeypatch.setitem(cli.COMMANDS, "say", cli.Command("tests.test_launcher:say", "", several=True))
    assert cli.main(["say"]) == 0 and capsys.readouterr().out == ""


def say(outcome: str = "done") -> Result:
    return {"done": Result("said", {}), "stopped": Result("said", {}, STOPPED), "bad": Result("said", {}, failed("bad"))}[
        outcome
    ]


@pytest.mark.parametrize(("outcome", "status"), [("done", 1), ("stopped", 75), ("bad", 1)])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_result_that_cannot_be_printed_is_one_line_and_keeps_its_status(outcome, status, flags, monkeypatch, capsys) -> None:
    monkeypatch.setitem(cli.COMMANDS, "say", cli.Command("tests.test_launcher:say", ""))
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["say", "--outcome", outcome, *flags]) == status
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("codeparrot: error: cannot write the result to standard output: No space left on device")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([*name.split(), "--help"] for name in cli.COMMANDS)], ids=str
)
def test_help_that_cannot_be_printed_is_one_line(arguments, monkeypatch, capsys) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "to standard output: No space left on device" in line


CLOSED = """
import os, sys
sys.argv = ["codeparrot", *sys.argv[1:]]
from codeparrot import cli
cli.entry()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirections", "status", "out", "err"),
    [
        ("", 0, "SELECT", ""),
        (">&-", 1, "", "standard output: it is closed"),
        (">/dev/full", 1, "", "standard output: No space left on device"),
        ("2>&-", 0, "SELECT", ""),
        ("<&- 2>&-", 0, "SELECT", ""),
        ("2>/dev/full", 0, "SELECT", ""),
        (">&- 2>&- <&-", 1, "", ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_that_are_closed_or_full(redirections, status, out, err, unbuffered) -> None:
    command = f'"$0" -c "$1" corpus sql {redirections}'
    variables = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    words: list[Any] = ["sh", "-c", command, sys.executable, CLOSED]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, out in done.stdout, err in done.stderr) == (status, True, True)
    assert bool(out) == bool(done.stdout) and len(done.stderr.splitlines()) == bool(err)


def test_a_user_without_a_home_gets_one_for_the_process_but_not_for_what_should_last(tmp_path, monkeypatch) -> None:
    code = (
        "import os, pathlib\nfrom codeparrot.launcher import find_home\nfrom codeparrot.location import path_of\n"
        "def nobody(*_): raise KeyError('uid')\n"
        "import pwd; pwd.getpwuid = nobody\nfind_home(); import getpass\n"
        "print(pathlib.Path.home().is_dir(), getpass.getuser(), pathlib.Path.home())\n"
        "try: print(path_of('~/runs'))\nexcept Exception as error: print(error)"
    )
    variables = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    }
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    first, refused = done.stdout.splitlines()
    assert first.startswith(f"True {os.getuid()} ") and not os.path.exists(first.rpartition(" ")[2])  # noqa: PTH110
    assert refused == '"~/runs": there is no home folder ~; write the whole path' and "no home folder (HOME)" in done.stderr
    with pytest.raises(CodeparrotError, match="no home folder ~nobody_here"):
        path_of("~nobody_here/x")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ACCELERATE_USE_CPU": "maybe"}, "cannot start: .*; correct or unset ACCELERATE_USE_CPU=maybe$"),
        ({"ACCELERATE_DYNAMO_BACKEND": "foo"}, "cannot start: .*; correct or unset ACCELERATE_DYNAMO_BACKEND=foo$"),
        ({"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP is set, but no launcher .*launch/fsdp.yaml.* or unset it$"),
    ],
)
def test_a_start_that_libraries_refuse_is_one_line_with_the_variables(values, said, monkeypatch) -> None:
    environment(monkeypatch, values)
    with pytest.raises(CodeparrotError, match=said):
        start_processes(Config())


def test_a_launch_configuration_that_says_something_else_than_the_recipe_is_named(monkeypatch, caplog) -> None:
    asked = {"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "7"}
    environment(monkeypatch, {**asked, "ACCELERATE_DYNAMO_BACKEND": "foo"})
    monkeypatch.setattr(logging.getLogger("codeparrot"), "propagate", True)
    with pytest.raises(CodeparrotError, match="cannot start"):
        start_processes(Config(train=TrainConfig(precision="bf16")))
    first, second = (record.getMessage() for record in caplog.records)
    assert "mixed_precision fp16, which is passed over: train.precision is bf16" in first
    assert "gradient_accumulation_steps 7" in second and second.endswith(" 24")


def test_a_folder_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["plot", "x"]) == 1
    assert capsys.readouterr().err == "codeparrot: error: the current folder was removed: change to one that exists (cd)\n"


def test_python_without_docstrings_is_refused_before_anything_is_built() -> None:
    done = subprocess.run([sys.executable, "-OO", "-m", "codeparrot", "plot", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "PYTHONOPTIMIZE" in done.stderr


def test_threads_soon_sleep_unless_the_user_says_how_they_wait() -> None:
    """In the process of a command, before torch reads it, and in those that it starts."""
    code = "import os, sys, codeparrot.cli as c; c.main = lambda _: print(os.environ.get('GOMP_SPINCOUNT')); c.entry([])"

    def spins(**variables: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=True).stdout

    assert spins() == "2000\n"
    assert spins(GOMP_SPINCOUNT="7") == "7\n"
    assert spins(OMP_WAIT_POLICY="ACTIVE") == "None\n"
