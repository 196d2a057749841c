"""A search finds what is nearest, and says what of it is no longer there."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.search.build import build
from codeparrot.search.embedding import load
from codeparrot.search.query import query
from tests.search.conftest import SOURCES, tiny

SPLIT = "def split(text):\n    return text.split()"


@pytest.fixture
def index(tree: Path, checkpoint: Path, tmp_path: Path) -> str:
    build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"), whiten=False)
    return str(tmp_path / "index")


def test_the_text_of_a_chunk_finds_it_first_with_score_1(index: str, tree: Path) -> None:
    result = query(SPLIT, index=index, top=3)
    first, *others = result.data["hits"]
    assert (first["path"], first["start"], first["stop"], first["name"]) == ("deep/words.py", 4, 5, "split")
    assert first["score"] == pytest.approx(1, abs=1e-5) and first["file"] == str(tree / "deep/words.py")
    assert len(others) == 2 and first["score"] > others[0]["score"] >= others[1]["score"]
    assert result.text.split("\n")[0] == "  1   1.000  deep/words.py:4-5  split"
    assert result.text.split("\n")[1].strip() == "def split(text):"


def test_scores_are_the_cosines_of_all_vectors(index: str, checkpoint: Path) -> None:
    hits = query("split words", index=index, top=100).data["hits"]
    embedder = load(str(checkpoint), "mean", "cpu")
    texts = {"split": SPLIT, "read": "def read(path):\n    return path"}
    cosines = embedder.embed([*texts.values()]) @ embedder.embed(["split words"])[0]
    found = {hit["name"]: hit["score"] for hit in hits}
    assert len(hits) == 8
    np.testing.assert_allclose([found[name] for name in texts], cosines, atol=1e-5)


@pytest.mark.parametrize("whiten", [False, True])
def test_more_like_a_place_leaves_out_itself_and_what_is_around_it(
    whiten: bool, index: str, tree: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(str(tree), checkpoint=str(checkpoint), output=index, whiten=whiten)
    monkeypatch.setattr("codeparrot.loading.load_model", lambda *arguments: pytest.fail("a model was loaded"))
    hits = query("-", index=index, like="table.py:10").data["hits"]
    assert len(hits) == 6
    assert {hit["name"] for hit in hits if hit["path"] == "table.py"} == {"", "read"}
    monkeypatch.chdir(tree / "deep")
    assert (
        query("-", index=index, like="words.py:5").data["hits"] == query("-", index=index, like="deep/words.py:4").data["hits"]
    )


PARTS = """import os
LIMIT = 3

def first(path):

    return os.path.join(path, LIMIT)

def second(words):
    return words

if __name__ == "__main__":
    first(second(LIMIT))
"""


@pytest.mark.parametrize(
    ("line", "own"),
    [(1, ""), (2, ""), (4, "first"), (5, "first"), (8, "second"), (11, ""), (3, None), (7, None), (10, None)],
)
def test_lines_around_definitions_share_none_with_them(
    line: int, own: str | None, tree: Path, checkpoint: Path, index: str
) -> None:
    (tree / "parts.py").write_text(PARTS, encoding="utf-8")
    build(str(tree), checkpoint=str(checkpoint), output=index, whiten=False)
    if own is None:
        with pytest.raises(CodeparrotError, match="nothing at this line"):
            query("-", index=index, like=f"parts.py:{line}")
        return
    hits = query("-", index=index, like=f"parts.py:{line}", top=100).data["hits"]
    assert {hit["name"] for hit in hits if hit["path"] == "parts.py"} == {"", "first", "second"} - {own}
    (rest,) = (hit for hit in query("x", index=index, top=100).data["hits"] if (hit["path"], hit["name"]) == ("parts.py", ""))
    assert [[*span] for span in rest["spans"]] == [[1, 2], [11, 12]]


def test_more_like_a_file_that_changed_is_said(index: str, tree: Path) -> None:
    fresh = query("-", index=index, like="table.py:4")
    assert fresh.data["like_state"] == "fresh"
    (tree / "table.py").write_text("\n" + SOURCES["table.py"], encoding="utf-8")
    result = query("-", index=index, like="table.py:4")
    assert result.data["like_state"] == "changed"
    assert result.text.startswith("table.py has changed since the build: these are like its lines 4 to 5 as they were\n")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(index: str, tree: Path, checkpoint: Path) -> None:
    (tree / "empty.py").touch()
    build(str(tree), checkpoint=str(checkpoint), output=index)
    (tree / "empty.py").unlink()
    os.mkfifo(tree / "empty.py")
    assert query("-", index=index, like="table.py:4").data["changed"] == ["empty.py"]


def test_a_file_of_another_size_is_not_read_to_see_that_it_changed(
    index: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeparrot.search.staleness.digest_of", lambda content: pytest.fail("it was read"))
    (tree / "notes.md").write_text("changed", encoding="utf-8")
    assert query("-", index=index, like="table.py:4").data["changed"] == ["notes.md"]


def test_copies_are_found_side_by_side(index: str, tree: Path, checkpoint: Path) -> None:
    (tree / "copy.py").write_text(SOURCES["deep/words.py"], encoding="utf-8")
    assert build(str(tree), checkpoint=str(checkpoint), output=index, whiten=False).data["embedded"] == 0
    paths = [hit["path"] for hit in query(SPLIT, index=index, top=2).data["hits"]]
    assert sorted(paths) == ["copy.py", "deep/words.py"]


def test_files_that_changed_or_are_gone_are_said(index: str, tree: Path) -> None:
    (tree / "deep/words.py").write_text("changed", encoding="utf-8")
    (tree / "notes.md").unlink()
    (tree / "table.py").touch()  # another time, the same content
    result = query(SPLIT, index=index)
    assert (result.data["changed"], result.data["gone"]) == (["deep/words.py"], ["notes.md"])
    assert result.data["hits"][0]["state"] == "changed"
    assert {hit["state"] for hit in result.data["hits"] if hit["path"] == "table.py"} == {"fresh"}
    assert "deep/words.py:4-5  split  [changed since]" in result.text
    assert "1 of 3 files have changed: deep/words.py\n1 of 3 files are gone: notes.md\n" in result.text


def test_a_renamed_folder_is_said_and_a_build_with_its_new_name_embeds_nothing(
    index: str, tree: Path, checkpoint: Path
) -> None:
    new = tree.rename(tree.with_name("renamed"))
    result = query(SPLIT, index=index)
    assert f"the folder {tree} is gone, and so are all 3 files" in result.text
    assert {hit["state"] for hit in result.data["hits"]} == {"gone"}
    assert build(str(new), checkpoint=str(checkpoint), output=index, whiten=False).data["embedded"] == 0
    assert query(SPLIT, index=index).data["gone"] == []


def test_another_model_is_refused(index: str, checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    tiny("gpt2", tokenizer, seed=1).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(CodeparrotError, match="is another model than the index's"):
        query(SPLIT, index=index, checkpoint=str(tmp_path / "other"))


def test_a_model_that_was_moved_is_named(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in checkpoint.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    build(str(tree), checkpoint=str(model), output=str(tmp_path / "index"))
    model.rename(tmp_path / "moved")
    with pytest.raises(CodeparrotError, match="is gone: say with --checkpoint"):
        query(SPLIT, index=str(tmp_path / "index"))
    assert query(SPLIT, index=str(tmp_path / "index"), checkpoint=str(tmp_path / "moved")).data["hits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "x", "top": 0}, "--top 0"),
        ({"text": "x", "like": "table.py:1"}, "give one of them"),
        ({"like": "table.py"}, "write FILE:LINE"),
        ({"like": "tablr.py:1"}, 'no file tablr.py; did you mean "table.py"'),
        ({"like": "table.py:99"}, "nothing at this line"),
        ({"text": " "}, "nothing to look for"),
        ({"text": "\udc80"}, "half a character"),
    ],
)
def test_what_is_wrong_is_one_line(options: dict[str, Any], message: str, index: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        query(**{"text": "-", "index": index, **options})


def test_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match="is no index that can be searched"):
        query("x", index=str(tmp_path))


def test_the_text_may_come_from_standard_input(index: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SPLIT))
    assert main(["search", "query", "--index", index, "--top", "1"]) == 0
    assert "deep/words.py:4-5  split" in capsys.readouterr().out
    assert main(["search", "query", "--like", "table.py:4", "--index", index]) == 0
    assert main(["search", "query", SPLIT, "--index", index, "--json"]) == 0
