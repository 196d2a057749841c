"""Archives that lie, are damaged, or unpack to more than any machine can hold."""

import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.corpus.documents import Record, Removed
from codeparrot.corpus.sources import members, unpacking
from codeparrot.corpus.sources.archives import open_archives
from tests.corpus.samples import modules
from tests.corpus.sources.packing import MAX_SIZE, PACKERS, contents, outcomes, reasons, tar_bytes, write, zip_bytes


def test_paths_that_lead_out_links_and_devices_are_refused_and_counted(tmp_path: Path) -> None:
    special: list[tuple[str | tarfile.TarInfo, bytes]] = [
        (name, b"evil") for name in ("../up.py", "/etc/abs.py", "a/../../b.py", "C:\\x.py", "..\\w.py")
    ]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        member = tarfile.TarInfo("link.py")
        member.type, member.linkname = kind, "/etc/passwd"
        special.append((member, b""))
    file = write(tmp_path / "x.tar", tar_bytes([*special, ("good.py", b"good")]))
    assert contents(file) == {"good.py": b"good"}
    assert reasons(file) == ["unsafe_path"] * 10
    link = zipfile.ZipInfo("link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = write(tmp_path / "x.zip", zip_bytes([*special[:5], (link, b"/etc/passwd"), ("good.py", b"good")]))  # type: ignore[list-item]
    assert contents(file) == {"good.py": b"good"}
    assert reasons(file) == ["unsafe_path"] * 6


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_of_one_name_the_first_is_read(tmp_path: Path) -> None:
    files = [("a.py", b"first"), ("./a.py", b"second"), ("a.py", b"third")]
    assert contents(write(tmp_path / "x.tar", tar_bytes(files))) == {"a.py": b"first"}
    assert reasons(tmp_path / "x.tar") == ["unsafe_path"] * 2
    assert contents(write(tmp_path / "x.zip", zip_bytes([files[0], files[2]]))) == {"a.py": b"first"}
    assert reasons(tmp_path / "x.zip") == ["unsafe_path"]


def test_a_member_of_a_zip_without_a_name_is_refused(tmp_path: Path) -> None:
    # zipfile cuts a name at its first zero byte, then reads the last character of an empty name.
    packed = zip_bytes([("x.py", b"x = 1\n"), ("y.py", b"y = 1\n")]).replace(b"x.py", b"\0.py")
    file = write(tmp_path / "a.zip", packed)
    assert reasons(file) == ["unsafe_path"] and contents(file) == {"y.py": b"y = 1\n"}


def test_large_files_are_not_unpacked(tmp_path: Path) -> None:
    files = [("a.py", b"x" * (MAX_SIZE + 1)), ("b.py", b"x" * MAX_SIZE)]
    for file in (write(tmp_path / "x.tar", tar_bytes(files)), write(tmp_path / "x.zip", zip_bytes(files))):
        assert [each for each in outcomes(file) if isinstance(each, Removed)] == [Removed("size", MAX_SIZE + 1)]
        assert list(contents(file)) == ["b.py"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_tar_bomb_ends_in_bounded_memory_and_time(tmp_path: Path, suffix: str, wanted: bool) -> None:
    name = "big.py" if wanted else "big.bin"
    packed = PACKERS[suffix](tar_bytes([("good.py", b"good"), (name, bytes(300_000_000)), ("late.py", b"late")]))
    assert len(packed) < 400_000
    file = write(tmp_path / f"x{suffix}", packed)
    del packed
    start = time.perf_counter()
    tracemalloc.start()
    found = outcomes(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == Record("x", "good.py", "unknown", b"good")
    assert found[-1] == Removed("bomb")
    assert peak < 20_000_000
    assert time.perf_counter() - start < 30


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    file = write(tmp_path / "x.zip", zip_bytes((f"{number}.py", bytes(MAX_SIZE)) for number in range(400)))
    assert outcomes(file) == [Removed("bomb")]


def test_overlapping_members_are_no_way_around_the_bound(tmp_path: Path) -> None:
    """One kernel of compressed data to which every entry of the directory points, as in Fifield's bomb."""
    one = zip_bytes([("0.py", bytes(MAX_SIZE))])
    directory_start = struct.unpack("<L", one[-6:-2])[0]
    entry = one[directory_start:-22]
    directory = b"".join(entry.replace(b"0.py", b"%04d" % number) for number in range(1000))
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1000, 1000, len(directory), directory_start, 0)
    file = write(tmp_path / "x.zip", one[:directory_start] + directory + end)
    found = [each for unit in open_archives([file], ("",), 0, MAX_SIZE).units for each in unit.records()]
    assert found == [Removed("bomb", 0, "x")]


def test_sizes_that_lie_in_a_zip_are_found_out(tmp_path: Path) -> None:
    honest = bytearray(zip_bytes([("a.py", b"x = 1\n" * 1000), ("b.py", b"y = 2\n")]))
    place = honest.index(b"PK\1\2") + 24
    for lie in (10, 90_000):
        honest[place : place + 4] = struct.pack("<L", lie)
        file = write(tmp_path / "x.zip", bytes(honest))
        assert outcomes(file) == [Removed("unreadable", lie), Record("x", "b.py", "unknown", b"y = 2\n")]


def test_sizes_that_lie_in_a_tar_end_it(tmp_path: Path) -> None:
    for size in (10**15, -512, 5000):
        liar = tarfile.TarInfo("liar.py")
        liar.size = size
        header = liar.tobuf(tarfile.GNU_FORMAT)
        file = write(tmp_path / "x.tar", tar_bytes([("good.py", b"good")])[:1024] + header + b"short")
        found = outcomes(file)
        assert found[0] == Record("x", "good.py", "unknown", b"good")
        assert found[-1].reason in ("unreadable", "bomb")  # type: ignore[union-attr]
        assert len(found) <= 3


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_are_bounded_and_quick(tmp_path: Path, kind: bytes) -> None:
    for content in (b"1" * 16_000, bytes(50_000_000), b"7 a=b\n" * 100):
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, len(content)
        blocks = -(-len(content) // 512) * 512
        raw = header.tobuf(tarfile.GNU_FORMAT) + content.ljust(blocks, b"\0") + tar_bytes([("a.py", b"a")])
        start = time.perf_counter()
        found = outcomes(write(tmp_path / "x.tar", raw))
        assert time.perf_counter() - start < 5
        if content.startswith(b"7"):
            assert len(found) <= 1  # the entry after a long name may have another name
        else:
            assert found == [Removed("bomb")]


def test_a_chain_of_headers_ends(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 6
    link = header.tobuf(tarfile.GNU_FORMAT) + b"6 a=b\n".ljust(512, b"\0")
    assert reasons(write(tmp_path / "x.tar", link * 100_000)) == ["unreadable"]


def test_too_many_members_are_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 100)
    files = [(f"{number}.txt", b"") for number in range(101)]
    assert reasons(write(tmp_path / "x.tar", tar_bytes(files))) == ["bomb"]
    assert reasons(write(tmp_path / "x.zip", zip_bytes(files))) == ["bomb"]
    monkeypatch.setattr(members, "MAX_DIRECTORY_BYTES", 2000)
    assert reasons(write(tmp_path / "y.zip", zip_bytes(files[:90]))) == ["bomb"]


def test_more_than_the_bound_is_a_bomb_whatever_the_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (members, unpacking):
        monkeypatch.setattr(module, "MAX_UNPACKED", 50_000)
    files = [(f"{number}.py", number.to_bytes(2) * 5000) for number in range(9)]
    assert reasons(write(tmp_path / "x.tar", tar_bytes(files))) == ["bomb"]
    assert reasons(write(tmp_path / "x.zip", zip_bytes(files, zipfile.ZIP_STORED))) == ["bomb"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", PACKERS)
def test_an_archive_that_is_cut_short_gives_what_is_there(tmp_path: Path, suffix: str) -> None:
    noise = [modules(40)[number] for number in range(40)]
    whole = PACKERS[suffix](tar_bytes((f"{number}.py", text) for number, text in enumerate(noise)))
    complete = contents(write(tmp_path / f"x{suffix}", whole))
    for part in (0.3, 0.9):
        file = write(tmp_path / f"x{suffix}", whole[: int(part * len(whole))])
        some = contents(file)
        assert some.items() <= complete.items() and len(some) < len(complete)
        assert reasons(file)[-1] == "unreadable"
    assert len(some) > 0 or suffix in (".tar.xz", ".tar.bz2")  # these compress in large blocks


def test_an_archive_without_its_end_gives_what_is_there(tmp_path: Path) -> None:
    files = [(f"{number}.py", b"x = 1\n") for number in range(3)]
    whole = tar_bytes(files)[: 3 * 1024]  # each file has one block of header and one of content
    good = Record("x", "0.py", "unknown", b"x = 1\n")
    assert outcomes(write(tmp_path / "x.tar", whole))[-1] == Removed("unreadable")
    spoilt = whole[:1024] + b"spoilt" + whole[1030:] + bytes(1024)
    assert outcomes(write(tmp_path / "x.tar", spoilt)) == [good, Removed("unreadable")]
    assert len(outcomes(write(tmp_path / "x.tar", whole + bytes(1024)))) == 3


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.tar.zst", "x.zip", "x.whl"])
@pytest.mark.parametrize("content", [b"", b"no archive at all, but a text of some length" * 50, b"PK\3\4"])
def test_what_is_no_archive_is_counted(tmp_path: Path, name: str, content: bytes) -> None:
    assert outcomes(write(tmp_path / name, content)) == [Removed("unreadable")]


def test_encrypted_and_damaged_members_are_counted_and_the_others_read(tmp_path: Path) -> None:
    raw = bytearray(zip_bytes([("a.py", b"alpha" * 50), ("b.py", b"beta" * 50), ("c.py", b"gamma" * 50)], zipfile.ZIP_STORED))
    raw[raw.index(b"beta")] ^= 1
    place = raw.index(b"PK\1\2") + 8
    raw[place] |= 1
    file = write(tmp_path / "x.zip", bytes(raw))
    assert outcomes(file) == [
        Removed("unreadable", 250),
        Removed("unreadable", 200),
        Record("x", "c.py", "unknown", b"gamma" * 50),
    ]
    file = write(tmp_path / "y.zip", zip_bytes([("a.py", b"x")], zipfile.ZIP_LZMA))
    assert reasons(file) == ["unreadable"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".tar", ".tar.gz", ".tar.zst", ".zip"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
)
def test_damage_anywhere_is_never_an_error(tmp_path: Path, suffix: str, damages: list[tuple[float, bytes]]) -> None:
    files = [(f"{number}.py", b"x = %d\n" % number * 20) for number in range(5)]
    packed = bytearray(zip_bytes(files) if suffix == ".zip" else PACKERS[suffix](tar_bytes(files)))
    for share, patch in damages:
        place = int(share * (len(packed) - len(patch)))
        packed[place : place + len(patch)] = patch
    assert len(outcomes(write(tmp_path / f"x{suffix}", bytes(packed)))) <= 7


@pytest.mark.parametrize("place", [2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_member_that_lies_beyond_every_file_is_unreadable(tmp_path: Path, place: int) -> None:
    """The 64-bit fields of a zip archive's directory allow such places."""
    content, name = b"x = 1\n", b"a.py"
    sizes = (zlib.crc32(content), len(content), len(content), len(name))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, *sizes, 0) + name + content
    extra = struct.pack("<2HQ", 1, 8, place)
    directory = (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, *sizes, len(extra), 0, 0, 0, 0, 2**32 - 1) + name + extra
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(local), 0)
    (tmp_path / "p-1.0.zip").write_bytes(local + directory + end)
    found = list(members.members(tmp_path / "p-1.0.zip", lambda _: True, 1000))
    assert found == [Removed("unreadable", len(content), path="a.py")]
