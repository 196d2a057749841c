"""What surrounds a command may fail: its disk is full, its output cannot be written, a library is missing. Always one line."""

import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from codeparrot import cli
from codeparrot.arguments import _parameters
from codeparrot.errors import CodeparrotError, from_outside, writing
from codeparrot.registry import load
from tests.conftest import python_sources
from tests.launching import ROOT, write_config
from tests.publishing.runs import make_run

PLACES = {"output", "html", "directory", "keep"}
"""Parameters of commands that name what is written."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer_folder: Path) -> dict[str, str]:
    """What the commands read."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "sources").mkdir()
    for number, text in enumerate(python_sources(30)):
        (folder / "sources" / f"a{number}.py").write_text(text, encoding="utf-8")
    built = ["--source", f"{folder}/sources", "--output", f"{folder}/built", "--valid_fraction", "0", "--workers", "1"]
    assert cli.main(["corpus", "build", *built]) == 0
    run, config = make_run(folder / "run", tokenizer_folder, (8, 16)), folder / "config.yaml"
    write_config(config, corpus, tokenizer_folder, train={"max_steps": 1}, schedule={"warmup_steps": 0})
    rows = (f"{10**size},{10**size * ratio},{1 + 9 / size + 1 / ratio}" for size in (5, 6, 7) for ratio in (5, 10, 20))
    (folder / "points.csv").write_text("\n".join(["parameters,tokens,loss", *rows]), encoding="utf-8")
    functions = [
        {"code": f"def read_{n}(path):\n    data = open(path)\n    return data\n", "docstring": f"Read the file {n}."}
        for n in range(20)
    ]
    lines = [json.dumps({**each, "language": "python", "partition": "valid"}) for each in functions]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    made = {
        "pairs": folder / "pairs.jsonl",
        "points": folder / "points.csv",
        "sources": folder / "sources",
        "built": folder / "built",
        "run": run,
        "config": config,
    }
    return {name: str(place) for name, place in {**made, "corpus": corpus, "tokenizer": tokenizer_folder}.items()}


slow = pytest.mark.slow
WRITERS: dict[str, Callable[[dict[str, str], str], list[str]]] = {
    "quickstart": lambda given, out: ["--directory", out, "--max_steps", "1", "--max_bytes", "100000"],
    "corpus build": lambda given, out: ["--source", given["sources"], "--output", out, "--valid_fraction", "0"],
    "corpus report": lambda given, out: ["--corpus", given["built"], "--html", f"{out}.html"],
    "corpus tokenize": lambda given, out: ["--corpus", given["corpus"], "--tokenizer", given["tokenizer"], "--output", out],
    "corpus pairs": lambda given, out: ["--corpus", given["built"], "--output", out],
    "tokenizer train": lambda given, out: ["--corpus", given["corpus"], "--vocab_size", "300", "--output", out],
    "train": lambda given, out: ["--config", given["config"], "--run.dir", out],
    "eval humaneval": lambda given, out: ["--reference", "--problems", "codeparrot", "--limit", "1", "--output", out],
    "eval infilling": lambda given, out: ["--checkpoint", given["run"], "--kind", "own", "--limit", "1", "--output", out],
    "eval likelihood": lambda given, out: [
        "--checkpoint",
        given["run"],
        "--problems",
        "codeparrot",
        "--limit",
        "1",
        "--output",
        out,
    ],
    "eval explain": lambda given, out: [
        *("--checkpoint", given["run"], "--pairs", given["pairs"], "--limit", "1", "--output", out)
    ],
    "eval retrieval": lambda given, out: [
        *("--checkpoint", given["run"], "--pairs", given["pairs"], "--whiten_on", "0", "--output", out)
    ],
    "embed": lambda given, out: [given["sources"], "--checkpoint", given["run"], "--output", f"{out}.parquet"],
    "search build": lambda given, out: [given["sources"], "--checkpoint", given["run"], "--output", out],
    "export": lambda given, out: ["--checkpoint", given["run"], "--output", f"{out}.gguf"],
    "scale run": lambda given, out: [*("--config", given["config"], "--output", out), *("--sizes", "1", "--budgets", "1")],
    "scale fit": lambda given, out: [given["points"], "--output", out, "--draws", "1"],
    "verify": lambda given, out: ["--keep", out],
    "plot": lambda given, out: [given["run"], "--output", f"{out}.png"],
    "tree": lambda given, out: [given["run"], "--output", f"{out}.png"],
}
"""Commands that write where the user says, with arguments that work."""
SLOW = {"quickstart", "train", "scale fit", "verify", "corpus report"}


def named(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=slow if name in SLOW else ()) for name in names]


def test_every_command_that_writes_somewhere_is_tried_here() -> None:
    writes = {name for name, command in cli.COMMANDS.items() if PLACES & set(_parameters(load(command.target)))}
    assert writes <= set(WRITERS)


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that fails; return its only line of error."""
    capsys.readouterr()
    assert cli.main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = (line for line in said.err.splitlines() if "error:" in line)
    assert said.err.splitlines()[-1] == line and line.startswith("codeparrot: error: ")
    return line


@pytest.mark.parametrize("name", named(list(WRITERS)))
def test_an_output_below_a_file_is_one_line_that_names_it(name, given, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    line = one_line([*name.split(), *WRITERS[name](given, str(tmp_path / "file" / "out"))], capsys)
    assert str(tmp_path / "file") in line
    assert any(word in line for word in ("choose another", "name another", "is a file", "set run.dir")), line


@contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """Let every write behind so many bytes of a file fail; worker processes inherit it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "name", named([name for name in WRITERS if name not in ("eval humaneval", "eval infilling", "verify")])
)
def test_a_full_disk_is_one_line_that_names_the_place(name, given, tmp_path, capsys) -> None:
    """An evaluation keeps its results in another place, a verification says what its runs say: these have their own tests."""
    with full_disk(60):
        line = one_line([*name.split(), *WRITERS[name](given, str(tmp_path / "out"))], capsys)
    assert str(tmp_path / "out") in line and os.strerror(27) in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 60]


MISSING = "import sys; sys.modules[sys.argv[1]] = None\nfrom codeparrot import cli; sys.exit(cli.main(sys.argv[2:]))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("datatrove", "corpus build --source {sources} --output {out} --executor ray"),
        ("ray", "corpus build --source {sources} --output {out} --executor ray"),
        ("deepspeed", "train --config {config} --run.dir {out}"),
        ("matplotlib", "plot {run}"),
        ("gguf", "export --checkpoint {run} --output {out}.gguf"),
    ],
)
def test_a_library_that_is_not_installed_is_one_line_with_its_installation(library, arguments, given, tmp_path) -> None:
    words = arguments.format(**given, out=tmp_path / "out").split()
    environment = {**os.environ, "ACCELERATE_USE_DEEPSPEED": "true"} if library == "deepspeed" else None
    command = [sys.executable, "-c", MISSING, library, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    line = done.stderr.splitlines()[-1]
    assert (
        "Traceback" not in done.stderr
        and done.returncode == 1
        and line.startswith("codeparrot: error: ")
        and "pip install" in line
    )
    assert library in line.lower() and not (tmp_path / "out").exists()


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The extras as they are today; the package may have been installed when they were others."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    lines = [f'{line}; extra == "{extra}"' for extra, declared in found.items() for line in declared]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    return found


@pytest.mark.slow  # looks at all that is installed
def test_every_library_of_an_extra_is_known_by_the_name_that_is_imported(extras: dict[str, list[str]]) -> None:
    used = [line for extra in {*extras} - {"test", "dev", "docs"} for line in extras[extra]]
    names = {plain(re.split(r"[^\w.-]", line)[0]) for line in used} - {"codeparrot"}
    modules = [name for name, brought in metadata.packages_distributions().items() if names & {*map(plain, brought)}]
    assert {"faiss", "bm25s", "gguf"} <= {*modules}
    for module in modules:
        said = str(from_outside(ModuleNotFoundError(f"No module named '{module}'", name=module)))
        assert said.startswith(f"this needs {module}, which is not installed: pip install 'codeparrot["), said


@pytest.mark.parametrize(
    "arguments",
    [
        "search build {sources} --checkpoint {run} --output {out}",
        "search query x --index {out}",
        "serve --checkpoint {run} --search {out} --port 0",
    ],
)
def test_a_search_without_its_library_is_one_line(arguments, given, extras, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    line = one_line(arguments.format(**given, out=tmp_path / "out").split(), capsys)
    assert line.endswith("this needs faiss, which is not installed: pip install 'codeparrot[search]'")
    assert not (tmp_path / "out").exists()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def not_compiled(words: str) -> RuntimeError:
    return type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})(words)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device; make room"),
        (OSError(28, "No space left on device", "/a/b"), "/a/b: No space left on device; make room"),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied; choose a place"),
        (OSError(30, "Read-only file system", "/a"), "/a: Read-only file system; choose a place"),
        (OSError("4096 requested and 60 written"), "No space left on device; make room"),
        (OSError("Not enough free space to write 17747968 bytes after offset 128"), "No space left on device; make room"),
        (Exception("No space left on device (os error 28)"), "No space left on device; make room"),
        (OSError(12, "Cannot allocate memory"), "Cannot allocate memory; take less at once (train.micro_batch_size"),
        (MemoryError("Unable to allocate 3.64 TiB for an array"), "there is not enough memory for 3.64 TiB; take less"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"),
            "there is not enough memory for 2.00 GiB; take",
        ),
        (
            RuntimeError(
                "CUDA out of memory. Tried to allocate 18.91 GiB. Of the allocated memory 124.24 GiB is allocated by PyTorch, "
                "and 15.50 GiB is reserved by PyTorch but unallocated."
            ),
            "there is not enough memory for 18.91 GiB; 15.50 GiB are free in pieces: "
            "PYTORCH_ALLOC_CONF=expandable_segments:True joins them; or take less at once",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. 3.50 MiB is reserved by PyTorch but unallocated."),
            "there is not enough memory for 2.00 GiB; take less",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "there is not enough memory; take less"),
        (not_compiled("No C++ compiler found\n\nSet TORCHDYNAMO"), "torch.compile fails here (No C++ compiler found); install"),
        (RuntimeError("shape '[2]' is invalid"), None),
        (FileNotFoundError(2, "No such file or directory", "/a"), None),
        (ValueError("x"), None),
    ],
    ids=str,
)
def test_an_error_of_the_system_is_one_line_and_a_defect_is_not(error, said) -> None:
    found = from_outside(error)
    assert str(found).startswith(said) if said else found is None


def test_an_error_of_reading_something_else_is_not_blamed_on_what_is_written(tmp_path) -> None:
    elsewhere = PermissionError(13, "Permission denied", "/elsewhere/data.jsonl")
    with pytest.raises(PermissionError), writing(tmp_path / "out", "--output"):
        raise elsewhere
    own = PermissionError(13, "Permission denied", str(tmp_path / ".unfinished-x"))
    with pytest.raises(CodeparrotError, match=r"cannot write .*out: Permission denied; .* \(--output\)"):
        _raise_while_writing(own, tmp_path / "out")


def _raise_while_writing(error: Exception, place: Path) -> None:
    with writing(place, "--output"):
        raise error


def test_users_paths_are_read_in_one_way() -> None:
    """A ~ that a shell left alone would become a folder of that name."""
    reading = {"location.py"}
    for room in ("codeparrot", "eval", "tokenizer"):
        for file in (ROOT / room).rglob("*.py"):
            assert file.name in reading or "expanduser" not in file.read_text(encoding="utf-8"), f"{file}: use location.path_of"


@pytest.mark.parametrize("name", ["corpus tokenize", "tokenizer train", "plot"])
def test_a_home_folder_is_found_in_what_is_written_and_read(name, given, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for thing, place in given.items():
        (tmp_path / thing).symlink_to(place)
    home = {thing: f"~/{thing}" for thing in given}
    assert cli.main([*name.split(), *WRITERS[name](home, "~/out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"].startswith(str(tmp_path / "out"))
    assert not (tmp_path / "~").exists()


def test_a_home_folder_is_found_in_the_settings_of_a_run(tmp_path, monkeypatch) -> None:
    from codeparrot.config import Config, RunConfig

    monkeypatch.setenv("HOME", str(tmp_path))
    assert Config(run=RunConfig(name="a", dir="~/runs")).run_directory == tmp_path / "runs" / "a"
