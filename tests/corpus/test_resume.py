"""A killed build continues where it stopped and ends with the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from codeparrot.corpus import clean, pipeline, reading, shards
from codeparrot.corpus.contamination.stage import Contamination
from codeparrot.corpus.duplicates import choice as duplicates
from codeparrot.corpus.duplicates import pairs as pairs_of_bands
from codeparrot.corpus.licenses.rules import LicenseSettings
from codeparrot.errors import CodeparrotError
from tests.corpus.planted import Planted, documents, pairs, write_rows
from tests.corpus.samples import COMMAND, digests, make, modules, read

PHASES = [
    (pipeline, "read"),
    (pipeline, "find_pairs"),
    (pairs_of_bands, "find_pairs"),
    (pipeline, "choose"),
    (pipeline, "clean"),
    (pipeline, "write_piece"),
    (pipeline, "place_shards"),
    (pipeline, "write_clusters"),
]


class Killed(BaseException):
    """Stands for the death of the process: nothing catches it, and what it left on the disk stays."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("source")
    planted = [*documents(120, tokens=200), *(each for pair in pairs(0.9, 30) for each in pair)]
    for number in range(6):
        write_rows(folder / f"rows{number}.jsonl", planted[number::6])
    return f"{folder}/*.jsonl"


@pytest.fixture(scope="module")
def expected(source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("expected") / "corpus"
    make(source, output, shard_bytes=100_000)
    return digests(output)


@pytest.mark.parametrize("place", PHASES, ids=[f"{module.__name__.rpartition('.')[2]}-{name}" for module, name in PHASES])
@pytest.mark.parametrize("calls", [0, 2])
def test_killed_in_any_phase_it_goes_on(
    source: str, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], calls: int
) -> None:
    module, name = place
    function, done = getattr(module, name), []

    def fails(*arguments: Any, **options: Any) -> Any:
        if len(done) == calls:
            raise Killed
        done.append(name)
        return function(*arguments, **options)

    monkeypatch.setattr(reading, "UNITS", 1)
    monkeypatch.setattr(module, name, fails)
    try:
        make(source, tmp_path / "corpus", shard_bytes=100_000)
    except Killed:
        assert not (tmp_path / "corpus").exists()
    monkeypatch.setattr(module, name, function)
    if not (tmp_path / "corpus").exists():
        make(source, tmp_path / "corpus", shard_bytes=100_000)
    assert digests(tmp_path / "corpus") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_what_is_done_is_not_done_again(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "statistics_of", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make(source, tmp_path / "corpus")
    monkeypatch.undo()
    for module in (reading, duplicates, clean, shards):
        if hasattr(module, "new_folder"):
            monkeypatch.setattr(module, "new_folder", lambda _: pytest.fail("a task was done again"))
    make(source, tmp_path / "corpus")


def test_other_settings_begin_anew_and_say_so(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "statistics_of", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make(source, tmp_path / "corpus")
    monkeypatch.undo()
    make(source, tmp_path / "corpus", seed=3)
    assert capsys.readouterr().err == "codeparrot: the work of an interrupted build is not used: different seed\n"
    make(source, tmp_path / "other" / "corpus", seed=3)
    assert digests(tmp_path / "corpus") == digests(tmp_path / "other" / "corpus")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("identity.json", "identity.json, which says what it is of, is damaged"),
        ("read/complete.json", ""),
        ("read/*/counts.json", r"counts\.json cannot be read .*; remove \S+ and run the same command again"),
        ("clean/*/found.json", r"found\.json cannot be read .*; remove \S+ and run the same command again"),
        ("write-*/*/shards.json", r"shards\.json cannot be read .*; remove \S+ and run the same command again"),
    ],
)
def test_a_damaged_file_beside_the_work_is_made_again_or_names_what_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str, said: str
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", documents(40, tokens=100))
    monkeypatch.setattr(pipeline, "statistics_of", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make(source, tmp_path / "corpus")
    monkeypatch.undo()
    (damaged, *_) = sorted((tmp_path / ".corpus.partial" / "work").glob(file))
    damaged.write_bytes(bytes(64))
    if "remove" in said:
        with pytest.raises(CodeparrotError, match=said) as caught:
            make(source, tmp_path / "corpus")
        shutil.rmtree(Path(str(caught.value).partition("; remove ")[2].partition(" and run")[0]))
    make(source, tmp_path / "corpus")
    if said and "remove" not in said:
        assert said in capsys.readouterr().err
    make(source, tmp_path / "other" / "corpus")
    assert digests(tmp_path / "corpus") == digests(tmp_path / "other" / "corpus")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "before", "after", "removed"),
    [
        ("licenses.opt_out", "", "org/r3\n", "opt_out"),
        ("contamination.benchmarks", '{"solution": "nothing_of_it(1, 2, 3)"}\n', '{"solution": "CONTENT"}\n', "contaminated"),
    ],
)
def test_other_content_of_a_named_file_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, before: str, after: str, removed: str
) -> None:
    """An owner who opts out between two starts is heard."""
    wanted, listed = Planted("org/r3", "wanted.py", modules(1)[0].decode()), tmp_path / "listed.jsonl"
    source = write_rows(tmp_path / "rows.jsonl", [*documents(40, tokens=100), wanted])
    listed.write_text(before, encoding="utf-8")
    group = flag.partition(".")[0]
    settings = LicenseSettings(opt_out=str(listed)) if group == "licenses" else Contamination(benchmarks=(str(listed),))
    monkeypatch.setattr(pipeline, "statistics_of", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        make(source, tmp_path / "corpus", **{group: settings})
    solution = json.dumps(wanted.content)[1:-1]
    listed.write_text(after.replace("CONTENT", solution), encoding="utf-8")
    # As in a new process: each reads a file's contents once.
    command = [*COMMAND, "corpus", "build", "--source", str(source), "--output", str(tmp_path / "corpus"), f"--{flag}"]
    done = subprocess.run([*command, str(listed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the work of an interrupted build is not used: different files" in done.stderr
    assert removed in done.stdout
    assert wanted.content not in {each["content"] for each in read(tmp_path / "corpus")}


def test_the_order_of_the_sources_changes_no_document(tmp_path: Path) -> None:
    planted = [*documents(40, tokens=200), *(each for pair in pairs(0.9, 30) for each in pair)]
    planted += [Planted("org/copies", each.path, each.content) for each in planted[::5]]
    for name, rows in (("one", planted), ("other", planted[::-1])):
        (tmp_path / name).mkdir()
        random.Random(name).shuffle(rows := list(rows))
        write_rows(tmp_path / name / "first.jsonl", rows[:50])
        write_rows(tmp_path / name / "second.jsonl", rows[50:])
    built = []
    for name in ("one", "other"):
        order = ["first", "second"] if name == "one" else ["second", "first"]
        make([tmp_path / name / f"{each}.jsonl" for each in order], tmp_path / f"{name}-out")
        built.append({file: digest for file, digest in digests(tmp_path / f"{name}-out").items() if file.endswith(".parquet")})
    assert built[0] == built[1] and len(built[0]) == 4


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(source: str, expected: dict[str, str], tmp_path: Path) -> None:
    command = [*COMMAND, "corpus", "build", "--source", source, "--output", str(tmp_path / "corpus"), "--workers", "2"]
    generator = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            [*command, "--shard_bytes", "100000"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        deadline = time.monotonic() + generator.uniform(0.8, 3.5)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if (tmp_path / "corpus").exists():
            break
    if not (tmp_path / "corpus").exists():
        subprocess.run([*command, "--shard_bytes", "100000"], check=True, capture_output=True)
    assert digests(tmp_path / "corpus") == expected
