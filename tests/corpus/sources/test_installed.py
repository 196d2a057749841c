import importlib
import platform
import sys
import sysconfig
from email.message import Message
from pathlib import Path

import pytest

from codeparrot.corpus.documents import Source
from codeparrot.corpus.sources.files import FileBatch, SourceFile
from codeparrot.corpus.sources.installed import license_of, open_installed
from tests.corpus.license_texts import BSD_LICENSE, MIT_LICENSE


def files_of(source: Source) -> list[SourceFile]:
    return [file for unit in source.units if isinstance(unit, FileBatch) for file in unit.files]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which this interpreter finds distributions."""
    for name in ("identify.vendor.licenses", "license_expression"):
        importlib.import_module(name)  # otherwise imported when a licence is first read, where the path holds nothing else
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def install(site: Path, name: str, record: str | None, *files: str, metadata: str = "") -> None:
    information = site / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}\n")
    if record is not None:
        (information / "RECORD").write_text(record)
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("x = 1\n")


def distributed(site: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in files_of(open_installed(0, 10**6)):
        if file.repo_name != "cpython":
            assert (site / file.path).samefile(file.file)
            found.setdefault(file.repo_name, set()).add(file.path)
    return found


def test_this_interpreter_gives_the_standard_library_and_each_distribution_once() -> None:
    source = open_installed(0, 10**6)
    files = files_of(source)
    assert source.num_records == len(files) == len({file.file for file in files})
    assert all(file.path.endswith(".py") for file in files)
    by_repository = {(file.repo_name, file.path): file for file in files}
    assert by_repository["cpython", "json/decoder.py"].license == "PSF-2.0"
    assert by_repository["pytest", "_pytest/fixtures.py"].license == "MIT"
    distributions = source.facts["distributions"]
    assert distributions["cpython"]["version"] == platform.python_version()
    assert distributions["pytest"] == {"version": pytest.__version__, "license": "MIT"}


def test_the_standard_library_holds_no_installed_package() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    files = [file for file in files_of(open_installed(0, 10**6)) if file.repo_name == "cpython"]
    assert len(files) > 100
    for file in files:
        assert Path(file.file).is_relative_to(library)
        assert "site-packages" not in file.path and "dist-packages" not in file.path


def test_a_distribution_has_the_python_files_of_its_record(site: Path) -> None:
    record = "pkg/__init__.py,,\npkg/data.txt,,\npkg/gone.py,,\n\npkg/core.so,,\n"
    install(site, "pkg", record, "pkg/__init__.py", "pkg/data.txt", "pkg/unlisted.py")
    assert distributed(site) == {"pkg": {"pkg/__init__.py"}}


def test_an_editable_install_gives_no_working_tree(site: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "src" / "module.py").write_text("x = 1\n")
    (site / "__editable__.pkg-1.0.pth").write_text(str(tree / "src"))
    record = f"__editable__.pkg-1.0.pth,,\n__editable___pkg_finder.py,,\n{tree}/src/module.py,,\n../tree/src/module.py,,\n"
    install(site, "pkg", record, "__editable___pkg_finder.py")
    assert distributed(site) == {}


def test_a_distribution_without_a_record_is_named_and_gives_nothing(site: Path) -> None:
    install(site, "system", None, "system/__init__.py")
    egg = site / "old.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1\n")
    (egg / "SOURCES.txt").write_text("old.py\n")
    (site / "old.py").write_text("x = 1\n")
    assert distributed(site) == {}
    assert open_installed(0, 10**6).facts["without_record"] == ["old", "system"]


def test_a_file_that_two_distributions_list_is_taken_once(site: Path) -> None:
    install(site, "b", "shared/__init__.py,,\nshared/b.py,,\n", "shared/__init__.py", "shared/b.py")
    install(site, "a", "shared/__init__.py,,\nshared/a.py,,\n", "shared/a.py")
    assert distributed(site) == {"a": {"shared/__init__.py", "shared/a.py"}, "b": {"shared/b.py"}}


def test_of_two_versions_the_one_that_is_imported_counts(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = tmp_path / "second"
    install(site, "some_name", "here.py,,\n", "here.py")
    install(second, "Some-Name", "there.py,,\n", "there.py")
    monkeypatch.setattr(sys, "path", [str(site), str(second)])
    assert distributed(site) == {"some_name": {"here.py"}}


def test_what_is_left_of_a_broken_installation_is_passed_over(site: Path) -> None:
    (site / "~ip-1.0.dist-info").mkdir()
    install(site, "pkg", "pkg.py,,\n", "pkg.py")
    assert distributed(site) == {"pkg": {"pkg.py"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "Apache-2.0 OR MIT"), ("License", "MIT")], "Apache-2.0 OR MIT"),
        ([("License", "MIT License"), ("Classifier", "License :: OSI Approved :: BSD License")], "MIT"),
        ([("License", "Apache License, Version 2.0")], "Apache-2.0"),
        ([("License", "3-Clause BSD License")], "BSD-3-Clause"),
        ([("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: ISC License (ISCL)")], "ISC"),
        ([("License", "BSD"), ("Classifier", "Topic :: Software")], "BSD"),
        ([("License", "MIT License\n\nCopyright ...\nPermission ...")], "MIT"),
        ([("License", "Copyright ...\nAll rights ..."), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD"),
        (
            [
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("Classifier", "License :: OSI Approved :: BSD License"),
            ],
            "BSD AND MIT",
        ),
        ([("Classifier", "License :: OSI Approved")], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_licence_comes_from_the_clearest_field(fields: list[tuple[str, str]], expected: str) -> None:
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert license_of(metadata) == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("License: BSD", "BSD-2-Clause"),
        ("", "BSD-2-Clause AND MIT"),
        ("License: Apache", "Apache"),
        ("License-Expression: Apache-2.0", "Apache-2.0"),
    ],
)
def test_a_licence_file_says_what_the_metadata_leaves_open(site: Path, declared: str, expected: str) -> None:
    record = "pkg.py,,\npkg-1.0.dist-info/licenses/LICENSE,,\npkg-1.0.dist-info/licenses/LICENSE.BSD,,\n"
    install(site, "pkg", record, "pkg.py", metadata=declared)
    (site / "pkg-1.0.dist-info" / "licenses").mkdir()
    (site / "pkg-1.0.dist-info" / "licenses" / "LICENSE").write_text(MIT_LICENSE)
    (site / "pkg-1.0.dist-info" / "licenses" / "LICENSE.BSD").write_text(BSD_LICENSE)
    assert open_installed(0, 10**6).facts["distributions"]["pkg"]["license"] == expected
