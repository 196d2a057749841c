import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from codeparrot.corpus.output import new_corpus
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import COMMAND, digests, make, read, write_repositories


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repositories(tmp_path_factory.mktemp("raw"))


def start(output: Path, source: str = "python") -> subprocess.Popen[str]:
    command = [*COMMAND, "corpus", "build", "--source", source, "--output", output, "--workers", "2", "--overwrite", "true"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until_it_works(process: subprocess.Popen[str], output: Path) -> None:
    done = output.parent / f".{output.name}.partial" / "work" / "read"
    while process.poll() is None and not any(done.glob("0*")):
        time.sleep(0.01)
    assert process.poll() is None


def workers_of(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_no_corpus_and_the_next_one_succeeds(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    process = start(output)
    wait_until_it_works(process, output)
    process.kill()
    process.communicate()
    assert not output.exists()
    deadline = time.monotonic() + 20
    while workers_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(process.pid) == []
    make(raw, output)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_the_old_corpus(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    make(raw, output)
    before = digests(output)
    process = start(output)
    wait_until_it_works(process, output)
    process.kill()
    process.communicate()
    assert digests(output) == before


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_done_and_no_corpus(tmp_path: Path) -> None:
    process = start(tmp_path / "corpus")
    wait_until_it_works(process, tmp_path / "corpus")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    # Beside other work it takes two seconds, and says before that how far it is.
    errors = re.sub(r"\A(reading: \d+ of \d+ files \(\d+%\), \d\d:\d\d so far, \d\d:\d\d left\n)+", "", errors)
    assert (process.returncode, errors) == (130, "codeparrot: interrupted; the same command goes on with what is done\n")
    assert [path.name for path in tmp_path.iterdir()] == [".corpus.partial"]


def test_a_build_that_fails_before_anything_is_done_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match="does not exist"):
        make(tmp_path / "nothing", tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_corpus_is_replaced_only_when_asked(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    make(raw, output)
    before = digests(output)
    with pytest.raises(CodeparrotError, match="--overwrite true"):
        make(raw, output, seed=1)
    assert digests(output) == before
    make(raw, output, seed=1, overwrite=True)
    assert digests(output) != before
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_build_that_fails_leaves_the_old_corpus(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    make(raw, output)
    before = digests(output)
    with pytest.raises(CodeparrotError):
        make(tmp_path / "nothing", output, overwrite=True)
    assert digests(output) == before


def test_a_corpus_can_be_rebuilt_from_itself(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    make(raw, output)
    before = read(output)
    make(output / "*.parquet", output, overwrite=True)
    assert read(output) == before


def test_what_is_no_corpus_is_never_replaced(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name, message in (("thesis", "is not a corpus"), ("file", "is a file")):
        with pytest.raises(CodeparrotError, match=message):
            make(raw, tmp_path / name, overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thesis"]


def test_an_empty_folder_or_a_link_to_one_is_filled(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make(raw, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "statistics.json").is_file()


def test_two_builds_at_once_are_refused(tmp_path: Path, raw: Path) -> None:
    with new_corpus(tmp_path / "corpus", overwrite=False) as building:
        (building.folder / "statistics.json").write_text("{}")
        with pytest.raises(CodeparrotError, match="another build"):
            make(raw, tmp_path / "corpus")
    assert (tmp_path / "corpus" / "statistics.json").read_text() == "{}"


def test_a_run_killed_between_its_two_renames_loses_nothing(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "corpus"
    make(raw, output)
    before = digests(output)
    output.rename(tmp_path / ".corpus.replaced")
    with pytest.raises(CodeparrotError, match="exists"):
        make(raw, output)
    assert digests(output) == before
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.parametrize("limit", [20_000, 300_000])
def test_a_full_disk_is_one_line(tmp_path: Path, raw: Path, limit: int) -> None:
    # A limit on file sizes makes the same calls fail as a full disk: first in a segment, then in a shard.
    program = f"from resource import *; setrlimit(RLIMIT_FSIZE, ({limit}, {limit})); {COMMAND[2]}"
    command = [*COMMAND[:2], program, "corpus", "build", "--source", raw, "--output", tmp_path / "corpus", "--workers", "2"]
    # What is measured writes files, too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("codeparrot: error: cannot write ") and "File too large" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "corpus").exists()
    make(raw, tmp_path / "corpus")
    make(raw, tmp_path / "again" / "corpus")
    assert digests(tmp_path / "corpus") == digests(tmp_path / "again" / "corpus")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "corpus"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CodeparrotError, match=r"cannot write .*Not a directory"):
        make(raw, tmp_path / "file" / "corpus")
    with pytest.raises(CodeparrotError, match="cannot be a corpus"):
        make(raw, Path("/"))


def test_missing_parent_folders_are_made(tmp_path: Path, raw: Path) -> None:
    make(raw, tmp_path / "a" / "b" / "corpus")
    shutil.rmtree(tmp_path / "a" / "b" / "corpus")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_path_that_is_no_text_is_a_path(tmp_path: Path) -> None:
    raw = write_repositories(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), repositories=2, files=3)
    make(raw, tmp_path / "corpus")
    assert len(read(tmp_path / "corpus")) == 6
