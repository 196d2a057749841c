"""An index is a function of the tree, whatever happened to the builds that led to it."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.loading import load_model
from codeparrot.search import updating
from codeparrot.search.build import build
from codeparrot.search.digest import digest_of_model
from codeparrot.search.embed import embed
from codeparrot.search.embedding import Embedder
from codeparrot.search.query import query
from codeparrot.search.searching import Search
from codeparrot.search.store import EMBEDDED, INDEX, Store, add_embedded, read_embedded
from tests.launching import SCRIPTS, started
from tests.search.conftest import SOURCES, more_functions, tiny


def content(index: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the chunks of an index, without the numbers of their vectors, and the vectors that are searched."""
    version = Store(index).version()
    chunks = version.chunks.to_pylist()
    vectors = version.nearest.reconstruct_n(0, version.nearest.ntotal)
    return [{**each, "row": 0} for each in chunks], np.stack([vectors[each["row"]] for each in chunks])


def require_equal(one: Path, other: Path) -> None:
    (chunks, vectors), (others, theirs) = content(one), content(other)
    assert chunks == others
    np.testing.assert_allclose(vectors, theirs, atol=1e-4)


def test_all_pieces_of_a_tree_are_in_its_index(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    facts = build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"), whiten=False).data
    assert (facts["files"], facts["chunks"], facts["embedded"]) == (3, 8, 8)
    chunks, vectors = content(tmp_path / "index")
    assert [(each["path"], each["name"], each["start"], each["stop"]) for each in chunks] == [
        ("deep/words.py", "", 1, 1),
        ("deep/words.py", "split", 4, 5),
        ("deep/words.py", "join", 8, 9),
        ("notes.md", "", 1, 3),
        ("table.py", "", 1, 1),
        ("table.py", "read", 4, 5),
        ("table.py", "Table", 8, 10),
        ("table.py", "Table.rows", 9, 10),
    ]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not list((tmp_path / "index").glob(EMBEDDED))


@pytest.mark.parametrize("whiten", [False, True])
def test_an_index_that_is_brought_up_to_date_is_that_of_a_build_from_nothing(
    whiten: bool, tree: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "whiten": whiten}
    more_functions(tree)
    build(str(tree), output=str(tmp_path / "index"), **options)
    (tree / "table.py").write_text(SOURCES["table.py"].replace("return 1", "return 2"), encoding="utf-8")
    (tree / "notes.md").unlink()
    (tree / "new.py").write_text("def new():\n    pass\n", encoding="utf-8")
    (tree / "deep").rename(tree / "moved")
    facts = build(str(tree), output=str(tmp_path / "index"), **options).data
    assert facts["embedded"] == 3  # new, and the class and the method that changed
    build(str(tree), output=str(tmp_path / "fresh"), **options)
    require_equal(tmp_path / "index", tmp_path / "fresh")
    assert len(list((tmp_path / "index").glob("version-*"))) == 1


def test_an_unchanged_tree_loads_no_model(
    tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index"), "whiten": False}
    build(str(tree), **options)
    monkeypatch.setattr("codeparrot.loading.load_model", lambda *arguments: pytest.fail("it was loaded"))
    tree.rename(tmp_path / "renamed")
    assert build(str(tmp_path / "renamed"), **options).data["embedded"] == 0


def test_whitening_may_change_without_embedding_again(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index")}
    more_functions(tree)
    build(str(tree), whiten=False, **options)
    assert build(str(tree), whiten=True, **options).data["embedded"] == 0
    assert Store(tmp_path / "index").version().whitening is not None


def test_a_tree_with_too_few_texts_is_not_whitened_and_that_is_said(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index")}
    result = build(str(tree), **options)
    assert "not whitened: that needs 16 different texts" in result.text and result.data["whiten"] is False
    scores = [hit["score"] for hit in query("read a table", index=str(tmp_path / "index"), top=100).data["hits"]]
    assert len({round(abs(score), 4) for score in scores}) == 8  # with one direction all would be 1 or -1
    more_functions(tree)
    assert "directions, whitened" in build(str(tree), **options).text
    (tree / "notes.md").rename(tmp_path / "notes.md")
    (tmp_path / "one").mkdir()
    (tmp_path / "notes.md").rename(tmp_path / "one" / "notes.md")
    assert build(str(tmp_path / "one"), **options).data["chunks"] == 1


@pytest.mark.parametrize(
    ("file", "setting", "value", "same"),
    [
        ("config.json", "layer_norm_epsilon", 0.1, False),
        ("tokenizer_config.json", "model_max_length", 7, False),
        ("config.json", "transformers_version", "1.0", True),
    ],
)
def test_settings_that_change_vectors_make_another_model(
    file: str, setting: str, value: Any, same: bool, checkpoint: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(checkpoint, tmp_path / "other")
    (other / file).write_text(json.dumps({**json.loads((other / file).read_text()), setting: value}))
    assert (digest_of_model(str(other)) == digest_of_model(str(checkpoint))) == same


def test_another_model_or_pooling_is_refused(tree: Path, checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"))
    shutil.copytree(checkpoint, tmp_path / "other")
    build(str(tree), checkpoint=str(tmp_path / "other"), output=str(tmp_path / "index"))  # the same, moved
    tiny("gpt2", tokenizer, seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(CodeparrotError, match=r"has the vectors of another model \(.*other\): name another --output"):
        build(str(tree), checkpoint=str(tmp_path / "other"), output=str(tmp_path / "index"))
    with pytest.raises(CodeparrotError, match="has --pooling mean, not last"):
        build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"), pooling="last")


def test_all_vectors_are_computed_in_float32(
    tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = []

    def spy(*arguments: Any, **options: Any) -> Any:
        types.append(options.get("dtype"))
        return load_model(*arguments, **options)

    for room in ("loading", "search.embedding"):
        monkeypatch.setattr(f"codeparrot.{room}.load_model", spy, raising=False)
    build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"))
    query("x", index=str(tmp_path / "index"))
    embed(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "a.parquet"))
    assert types == [torch.float32] * 3


@pytest.mark.parametrize("fails", ["loading", "embedding"])
def test_a_build_that_kept_no_vector_binds_the_folder_to_no_model(
    fails: str, tree: Path, checkpoint: Path, tokenizer: Any, tmp_path: Path
) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    if fails == "loading":
        (broken / "tokenizer.json").unlink()
    else:
        model = tiny("gpt2", tokenizer, seed=1)
        model.transformer.ln_f.weight.data[:] = torch.nan
        model.save_pretrained(broken)
    with pytest.raises(CodeparrotError):
        build(str(tree), checkpoint=str(broken), output=str(tmp_path / "index"))
    assert build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index")).data["embedded"] == 8


def test_an_index_is_used_from_another_folder(
    tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    build(str(tree), checkpoint=checkpoint.name, output=str(tmp_path / "index"))
    monkeypatch.chdir(tmp_path)
    (tree / "notes.md").unlink()
    result = query("x", index="index")
    assert result.data["hits"]
    words = result.text.splitlines()[-1].removesuffix(" reads them again").split()
    assert words[:2] == ["codeparrot", "search"] and main(words[1:]) == 0
    assert Store(tmp_path / "index").version().files.num_rows == 2


def test_a_folder_that_is_no_index_is_left_alone(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(CodeparrotError, match="is no index"):
        build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "mine"))
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["file"]


def test_what_is_wrong_is_said(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index")}
    with pytest.raises(CodeparrotError, match="is no folder"):
        build(str(tree / "missing"), **options)
    with pytest.raises(CodeparrotError, match="--max_size 0"):
        build(str(tree), max_size=0, **options)
    with pytest.raises(CodeparrotError, match="holds no text file"):
        build(str(tree), max_size=1, **options)
    assert not (tmp_path / "index").exists()


def test_two_builds_of_one_index_do_not_run_at_once(tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    with updating.alone(Store(tmp_path / "index")), pytest.raises(CodeparrotError, match="another process builds"):
        build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "index"))


class Killed(BaseException):
    """What a test has in the place of SIGKILL."""


@pytest.mark.parametrize("where", ["add_embedded", "new_folder", "write_json", "_tidy"])
def test_a_build_that_ends_anywhere_leaves_the_old_index_and_goes_on(
    where: str, tree: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"checkpoint": str(checkpoint), "output": str(tmp_path / "index"), "whiten": False}
    build(str(tree), **options)
    before = content(tmp_path / "index")
    (tree / "table.py").write_text("def other():\n    return 3\n\n\ndef more():\n    return 4\n", encoding="utf-8")

    def killed(*arguments: Any, **options: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "batches", _one_by_one(Embedder.batches))
        if where == "add_embedded":
            patch.setattr(updating, where, _once_then(add_embedded, killed))
        elif where == "_tidy":
            patch.setattr(Store, where, killed)
        else:
            patch.setattr(f"codeparrot.files.{where}", killed)
        with pytest.raises(Killed):
            build(str(tree), **options)
    if where != "_tidy":
        assert content(tmp_path / "index")[0] == before[0]
    facts = build(str(tree), **options).data
    assert facts["embedded"] == (1 if where == "add_embedded" else 0)
    build(str(tree), **{**options, "output": str(tmp_path / "fresh")})
    require_equal(tmp_path / "index", tmp_path / "fresh")
    assert sorted(each.name for each in (tmp_path / "index").iterdir())[1:-1] == ["index.json", "settings.json"]


def _one_by_one(batches: Any) -> Any:
    def single(self: Embedder, texts: list[str]) -> Any:
        for number, text in enumerate(texts):
            for batch in batches(self, [text]):
                yield batch._replace(texts=np.array([number]))

    return single


def _once_then(first: Any, then: Any) -> Any:
    calls = []

    def call(*arguments: Any) -> Any:
        calls.append(1)
        return (first if len(calls) == 1 else then)(*arguments)

    return call


@pytest.mark.slow
def test_sigkill_while_building_loses_at_most_a_batch(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    tree, index = tmp_path / "tree", tmp_path / "index"
    tree.mkdir()
    for number, text in enumerate(texts[:30]):
        (tree / f"module{number}.py").write_text(text, encoding="utf-8")
    words = ["search", "build", str(tree), "--checkpoint", str(checkpoint), "--output", str(index), "--json"]
    command = [str(SCRIPTS / "codeparrot"), *words]
    kept, kills = 0, 0
    for _ in range(2):
        process = started(command, tmp_path, warm=False)
        place, deadline = index / EMBEDDED, time.monotonic() + 240
        size = place.stat().st_size if place.exists() else 0
        while not (place.exists() and place.stat().st_size > size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        assert not (index / INDEX).exists() or kills == 0
        assert len(read_embedded(place, 32)) > kept
        kept = len(read_embedded(place, 32))
    assert kills == 2
    process = started(command, tmp_path, warm=False)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-2000:]
    facts = json.loads(out)
    assert facts["embedded"] == facts["texts"] - kept
    build(str(tree), checkpoint=str(checkpoint), output=str(tmp_path / "fresh"))
    require_equal(index, tmp_path / "fresh")
    assert Search(Store(index).version()).of_vector(np.ones(32, np.float32), 3)
