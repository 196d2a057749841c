import os.path
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.documents import Removed
from codeparrot.corpus.sources.license_files import is_license_file
from codeparrot.corpus.sources.safety import BOMB, REFUSALS, Refused, is_safe_path

PIECES = st.sampled_from(["..", ".", "", "a", "b.py", "/", "\\", "C:", "~", "a b", "\0", "...", "..a"])


@given(st.lists(PIECES, max_size=6), st.sampled_from(["/", "\\"]))
def test_a_safe_path_stays_below_its_folder(pieces: list[str], separator: str) -> None:
    path = separator.join(pieces)
    if is_safe_path(path):
        for spelled in (path, path.replace("\\", "/")):
            assert os.path.normpath(f"/top/folder/{spelled}").startswith("/top/folder")
        assert "\0" not in path and not path.startswith(("/", "\\", "C:"))


@given(st.lists(st.sampled_from(["a", "b.py", "c d", "..e", "f..", "...", "é"]), min_size=1, max_size=6))
def test_an_ordinary_path_is_safe(pieces: list[str]) -> None:
    assert is_safe_path("/".join(pieces))


@pytest.mark.parametrize("path", ["", "/a", "\\a", "C:a", "c:/a", "..", "a/..", "a/../../b", "a\\..\\b", "a\0b", "a/" * 3000])
def test_an_unsafe_path_is_not(path: str) -> None:
    assert not is_safe_path(path)


def test_what_was_refused_is_a_unit() -> None:
    unit = Refused("key", (Removed(BOMB, 0, "me/it"),))
    assert list(pickle.loads(pickle.dumps(unit)).records()) == [Removed(BOMB, 0, "me/it")]
    assert all(REFUSALS.values())


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "license.txt",
        "LICENCE.md",
        "COPYING",
        "COPYING3",
        "COPYINGv3",
        "COPYING.LESSER",
        "LICENSE-MIT",
        "MIT-LICENSE.txt",
        "UNLICENSE",
    ],
)
def test_the_name_of_a_licence_file(name: str) -> None:
    assert is_license_file(name)


@pytest.mark.parametrize(
    "name", ["license.py", "licenses.json", "README.md", "relicensed", "LICENSE.svg", "src", "licensing.md"]
)
def test_the_name_of_no_licence_file(name: str) -> None:
    assert not is_license_file(name)
