"""The package as a user gets it: a wheel in its own environment, away from the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from codeparrot import __version__
from tests.launching import ROOT

FOLDERS = {"codeparrot": "codeparrot", **{name: f"codeparrot/{name}" for name in ("configs", "eval", "launch", "tokenizer")}}
"""The folders of the repository that are packaged, and where each lies in a wheel."""
BESIDE = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
NOT_PACKAGED = {"codeparrot/launch/README.md"}

pytestmark = pytest.mark.slow


def ran(*command: str | Path, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with only the programs of this environment."""
    hidden = ("PYTHON", "VIRTUAL_ENV", "PIP_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done


def run(*command: str | Path, place: Path) -> str:
    return ran(*command, place=place).stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged files: a build leaves files in its tree, and takes those of earlier builds into the wheel."""
    copy = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in BESIDE:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, place=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that holds the wheel and finds this one's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, place=folder)
    python = folder / "bin" / "python"
    install = ("install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(sys.executable, "-m", "pip", "--python", python, *install, wheel, place=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Folders that a .pth file names are searched, but their own .pth files, an editable codeparrot's among them, are not read.
    libraries = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    return python.parent


def packaged(source: Path) -> Iterator[str]:
    for folder, place in FOLDERS.items():
        for file in (source / folder).rglob("*"):
            if file.is_file():
                yield f"{place}/{file.relative_to(source / folder)}"


def test_a_wheel_holds_every_module_and_every_data_file(source: Path, wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("codeparrot/")}
    assert held == set(packaged(source)) - NOT_PACKAGED
    # By name too: the line above would pass if they were missing from the repository.
    for kind in ("py.typed", ".html", ".sql", ".jsonl", "nano.yaml", "ddp.yaml", "zero3.json", "corpus/stack.yaml"):
        assert any(name.endswith(kind) for name in held), kind


def test_the_version_is_that_of_the_package(wheel: Path, programs: Path, tmp_path: Path) -> None:
    assert wheel.name == f"codeparrot-{__version__}-py3-none-any.whl"
    assert run(programs / "codeparrot", "--version", place=tmp_path) == f"codeparrot {__version__}\n"


def test_the_quickstart_runs_from_a_wheel_and_a_second_time_reuses_it(programs: Path, tmp_path: Path) -> None:
    """The whole chain once, as a user has it: what does not hold in a wheel would be missed beside the repository."""
    where = run(programs / "python", "-c", "import codeparrot.eval as it; print(it.__file__)", place=tmp_path)
    assert Path(where).is_relative_to(programs.parent)
    quickstart = (programs / "codeparrot", "quickstart", "--directory", "here", "--max_steps", "6", "--max_bytes", "1000000")
    facts = json.loads(run(*quickstart, "--json", place=tmp_path))
    assert facts["tokens"] == 6 * 8 * 256
    assert facts["perplexity_after"] < facts["perplexity_before"]
    assert "bubblewrap" in facts["unit_tests"] if "unit_tests" in facts else 0 <= facts["pass@1"] <= facts["pass@10"] <= 1
    assert 0 <= facts["parsed_share"] <= 1 and len(facts["completions"]) == 3
    assert (tmp_path / "here" / "runs" / "nano" / "plots" / "loss.png").stat().st_size > 10_000
    corpus = tmp_path / "here" / "data" / "nano" / "corpus" / "statistics.json"
    before = corpus.stat().st_mtime_ns
    again = ran(*quickstart, place=tmp_path, PATH="/usr/bin:/bin")  # an environment that is not activated
    offered = again.stdout.rpartition("next ")[2].split()[0]
    assert run(offered, "--version", place=tmp_path)
    assert "is already there and is used again" in again.stderr and corpus.stat().st_mtime_ns == before
    assert "of the sampled functions parse as Python" in again.stdout
