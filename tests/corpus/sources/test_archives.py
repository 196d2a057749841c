"""Files come out of archives of every kind, whole and once."""

import gzip
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.corpus.documents import Record, Removed
from codeparrot.corpus.sources import archives
from codeparrot.corpus.sources.archives import find_archives, open_archives, repository_of
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import make, modules, read
from tests.corpus.sources.packing import (
    EXPECTED,
    FILES,
    MAX_SIZE,
    PACKERS,
    Files,
    contents,
    outcomes,
    reasons,
    tar_bytes,
    write,
    zip_bytes,
)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_archive_gives_its_sources(tmp_path: Path, suffix: str, format: int) -> None:
    packed = PACKERS[suffix](tar_bytes([(f"Some_Name-1.0/{path}", content) for path, content in FILES.items()], format))
    file = write(tmp_path / f"some-name-1.0{suffix}", packed)
    assert contents(file) == EXPECTED
    assert reasons(file) == []
    assert {each.repo_name for each in outcomes(file) if isinstance(each, Record)} == {"some-name"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_archive_and_a_wheel_give_their_sources(tmp_path: Path, compression: int) -> None:
    for name in ("project.zip", "some_name-1.0-py3-none-any.whl"):
        file = write(tmp_path / name, zip_bytes(FILES.items(), compression))
        assert contents(file) == EXPECTED
        assert reasons(file) == []


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("abé.", min_size=1, max_size=8).map(lambda name: f"p/{name}.py"), st.binary(max_size=2000), max_size=8
    ),
    st.sampled_from([*PACKERS, ".zip"]),
)
def test_what_was_packed_comes_out(tmp_path: Path, files: Files, suffix: str) -> None:
    packed = zip_bytes(files.items()) if suffix == ".zip" else PACKERS[suffix](tar_bytes(files.items()))
    assert contents(write(tmp_path / f"x{suffix}", packed)) == files


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Some_Name-1.0.tar.gz", "some-name"),
        ("zope.interface-7.0.post1.tar.bz2", "zope-interface"),
        ("some_name-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "some-name"),
        ("project-main.zip", "project-main"),
        ("v2.tar.xz", "v2"),
        ("odd name.whl", "odd name"),
    ],
)
def test_a_repository_is_called_after_its_distribution(file: str, name: str) -> None:
    assert repository_of(file) == name


def test_archives_in_archives_are_not_opened(tmp_path: Path) -> None:
    level = zip_bytes([("0.py", b"x = 1\n")])
    for _ in range(5):
        level = zip_bytes((f"lib {number}.zip", level) for number in range(16))
    assert outcomes(write(tmp_path / "42.zip", level)) == []


def test_a_large_archive_is_several_units_that_hold_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(f"{number}.py", modules(30)[number]) for number in range(30)]
    raw = tar_bytes([*files, ("../up.py", b"")])[:-5000]
    file = write(tmp_path / "x.tar", raw)
    expected = outcomes(file)
    monkeypatch.setattr(archives, "PART_BYTES", len(raw) // 4)
    source = open_archives([file], (".py",), 0, MAX_SIZE)
    units = list(source.units)
    assert len({unit.key for unit in units}) == len(units) == 4
    found = [each for unit in units for each in unit.records()]
    assert sorted(each[-2:] for each in found if isinstance(each, Record)) == sorted(
        each[-2:] for each in expected if isinstance(each, Record)
    )
    assert sorted(each[:2] for each in found if isinstance(each, Removed)) == sorted(
        each[:2] for each in expected if isinstance(each, Removed)
    )


def test_archives_are_found_in_a_folder_and_by_a_glob(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    files = [write(tmp_path / "a.zip", zip_bytes(FILES.items())), write(tmp_path / "deep" / "b.tar", tar_bytes(FILES.items()))]
    assert sorted(find_archives(f"archives:{tmp_path}")) == files
    assert find_archives(f"archives:{tmp_path}/*.zip") == files[:1] == find_archives(str(files[0]))
    for spec in ("archives:", f"archives:{tmp_path}/*.rar", f"archives:{tmp_path / 'deep' / 'no'}"):
        with pytest.raises(CodeparrotError, match="names no archive"):
            find_archives(spec)
    with pytest.raises(CodeparrotError, match="is not an archive"):
        find_archives(f"archives:{write(tmp_path / 'x.txt', b'')}")


def test_a_corpus_is_built_from_archives(tmp_path: Path) -> None:
    for number in range(3):
        files = [(f"src/{index}.py", text) for index, text in enumerate(modules(15)[number * 5 : number * 5 + 5])]
        write(tmp_path / f"dist{number}-1.0.tar.gz", gzip.compress(tar_bytes(files)))
    make(f"{tmp_path}/*.tar.gz", tmp_path / "out")
    assert {document["repo_name"] for document in read(tmp_path / "out")} == {"dist0", "dist1", "dist2"}
