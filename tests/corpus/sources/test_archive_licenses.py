"""An archive's files have the archive's own licence, not that of the code it vendors."""

import gzip
from pathlib import Path

import pytest

from codeparrot.corpus.documents import Record
from codeparrot.corpus.sources import archives
from codeparrot.corpus.sources.license_files import MAX_LICENSE_FILES
from tests.corpus.license_texts import BSD_LICENSE, MIT_LICENSE
from tests.corpus.sources.packing import (
    contents,
    outcomes,
    tar_bytes,
    write,
    zip_bytes,
)

GPL = ("METADATA", b"Metadata-Version: 2.4\nName: x\nLicense-Expression: GPL-3.0-only\n")
MIT = ("METADATA", b"Metadata-Version: 2.4\nName: y\nLicense-Expression: MIT\n")
VENDORED = ("x/_vendor/attrs-23.1.dist-info/METADATA", MIT[1])
X = ("x/a.py", b"x = 1\n")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_the_licence_is_declared_or_that_of_the_licence_file(tmp_path: Path, suffix: str) -> None:
    def pack(name: str, files: list[tuple[str, bytes]]) -> Path:
        return write(tmp_path / f"{name}{suffix}", zip_bytes(files) if suffix == ".zip" else gzip.compress(tar_bytes(files)))

    source = ("x-1/x.py", b"x = 1\n")
    license_file, vendored = (
        ("x-1/LICENSE", MIT_LICENSE.encode()),
        ("x-1/vendor/LICENSE", b"GNU GENERAL PUBLIC LICENSE Version 3"),
    )
    declared = ("x-1/PKG-INFO", b"Metadata-Version: 2.4\nName: x\nLicense-Expression: Apache-2.0\n")
    undeclared = ("x-1/PKG-INFO", b"Metadata-Version: 2.4\nName: x\n")
    for files, expected in (
        ([source, license_file, declared], "Apache-2.0"),
        ([source, license_file, undeclared, vendored], "MIT"),
        ([source, vendored], "unknown"),
    ):
        (record,) = outcomes(pack("x-1", files))
        assert isinstance(record, Record) and (record.path, record.license) == ("x.py", expected)


def test_the_licence_of_a_wheel(tmp_path: Path) -> None:
    metadata = (
        "x-1.dist-info/METADATA",
        b"Metadata-Version: 2.4\nName: x\nClassifier: License :: OSI Approved :: ISC License (ISCL)\n",
    )
    file = write(tmp_path / "x-1-py3-none-any.whl", zip_bytes([("x.py", b"x"), metadata]))
    assert [each.license for each in outcomes(file) if isinstance(each, Record)] == ["ISC"]
    file = write(
        tmp_path / "y-1-py3-none-any.whl", zip_bytes([("x.py", b"x"), ("y-1.dist-info/licenses/LICENSE", MIT_LICENSE.encode())])
    )
    assert [each.license for each in outcomes(file) if isinstance(each, Record)] == ["MIT"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([VENDORED, X, ("x-1.0.dist-info/METADATA", GPL[1])], "GPL-3.0-only"),
        ([("attrs-23.1.dist-info/METADATA", MIT[1]), X, ("X-1.0.dist-info/METADATA", GPL[1])], "GPL-3.0-only"),
        ([("attrs-23.1.dist-info/METADATA", MIT[1]), X, ("x-1.0.dist-info/RECORD", b"")], "unknown"),
        ([("a-1.dist-info/METADATA", MIT[1]), X, ("b-1.dist-info/METADATA", GPL[1])], "GPL-3.0-only AND MIT"),
        ([VENDORED, X], "unknown"),
        ([("METADATA", MIT[1]), ("x-1.0.dist-info/licenses/METADATA", MIT[1]), X], "unknown"),
    ],
)
def test_a_wheel_has_the_licence_of_its_own_metadata(tmp_path: Path, files: list[tuple[str, bytes]], expected: str) -> None:
    file = write(tmp_path / "x-1.0-py3-none-any.whl", zip_bytes(files))
    assert [each.license for each in outcomes(file) if isinstance(each, Record)] == [expected]


def test_a_wheel_that_is_called_otherwise_has_the_licence_of_its_only_metadata(tmp_path: Path) -> None:
    file = write(tmp_path / "renamed.whl", zip_bytes([VENDORED, X, ("x-1.0.dist-info/METADATA", GPL[1])]))
    assert [each.license for each in outcomes(file) if isinstance(each, Record)] == ["GPL-3.0-only"]


LICENSE = MIT_LICENSE.encode()


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("vendor/attrs-23.1.dist-info/METADATA", MIT[1]), ("LICENSE", BSD_LICENSE.encode()), X], "BSD-2-Clause"),
        ([("attrs-23.1.dist-info/METADATA", MIT[1]), ("LICENSE", BSD_LICENSE.encode()), X], "BSD-2-Clause"),
        ([("vendor/LICENSE", LICENSE), ("src/a.py", b"a")], "unknown"),
        ([("src/a.py", b"a"), ("vendor/LICENSE", LICENSE)], "unknown"),
        ([("vendor/PKG-INFO", MIT[1]), ("a.py", b"a")], "unknown"),
        ([("top/LICENSE", LICENSE), ("top/a.py", b"a")], "MIT"),
        ([("top/a.py", b"a"), ("top/PKG-INFO", MIT[1]), ("top/vendor/LICENSE", BSD_LICENSE.encode())], "MIT"),
        ([("top/vendor/LICENSE", LICENSE), ("top/a.py", b"a")], "unknown"),
        ([("package.xml", b""), ("main/LICENSE", LICENSE), ("main/a.py", b"a")], "MIT"),
    ],
)
def test_an_archive_has_the_licence_at_its_top(
    tmp_path: Path, suffix: str, files: list[tuple[str, bytes]], expected: str
) -> None:
    packed = zip_bytes(files) if suffix == ".zip" else gzip.compress(tar_bytes(files))
    file = write(tmp_path / f"main{suffix}", packed)
    assert [each.license for each in outcomes(file) if isinstance(each, Record)] == [expected]


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_of_an_archive_a_bounded_number_of_licence_files_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    given: list[int] = []
    monkeypatch.setattr(archives, "license_of_files", lambda texts: given.append(len(texts)) or "unknown")
    crowd = [(f"vendor/LICENSE-{number}", b"x") for number in range(300)]
    files = [*crowd, *((f"LICENSE-{number}", b"x") for number in range(300)), X]
    assert len(contents(write(tmp_path / f"main{suffix}", zip_bytes(files) if suffix == ".zip" else tar_bytes(files)))) == 1
    assert given == [MAX_LICENSE_FILES]
