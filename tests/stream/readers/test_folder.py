"""Which files of a folder are data, and which split they belong to: one answer for every caller."""

import os
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus.documents import ColumnNames, Reading
from codeparrot.corpus.sources.opening import open_source
from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import hub
from codeparrot.stream.readers.folder import NoSplit, find_data, split_of
from codeparrot.stream.sources import open_shards
from codeparrot.tokenizer.sample import sample

NO_UTF8 = os.fsdecode(b"d\xff.jsonl")
NOBODY = 65534
ROW = b'{"content": "x"}\n'
FOLDERS = ["", "a/", "a-b/", "train/", "b/Validation/", ".git/", "_temporary/", "a/.ipynb_checkpoints/", "test/c/", "removed/"]
STEMS = ["train-00000-of-00002", "valid", "x.valid.1", "my_test", "latest", "trains", "data", ".hidden", "_part", "evaluation2"]
ENDINGS = [".jsonl", ".json", ".txt", ".md", ".parquet.tmp", ".JSONL"]
TREES = st.sets(st.builds(lambda *parts: "".join(parts), *map(st.sampled_from, (FOLDERS, STEMS, ENDINGS))), max_size=12)
SPLIT_OF_STEM = {
    "train-00000-of-00002": "train",
    "valid": "valid",
    "x.valid.1": "valid",
    "my_test": "test",
    "evaluation2": "test",
}
SPLIT_OF_FOLDER = {"train/": "train", "b/Validation/": "valid", "test/c/": "test"}


def make(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(ROW)
    return folder


def expected(tree: set[str], split: str) -> list[str] | None:
    """The rule restated as a table of the names above. None: an error."""
    by_split: dict[str | None, list[str]] = {}
    for folder in FOLDERS:
        for stem in STEMS:
            for ending in (".json", ".jsonl"):
                hidden = {".git/", "_temporary/", "a/.ipynb_checkpoints/"}
                if f"{folder}{stem}{ending}" in tree and folder not in hidden and stem not in (".hidden", "_part"):
                    own = SPLIT_OF_STEM.get(stem) or SPLIT_OF_FOLDER.get(folder)
                    by_split.setdefault(own, []).append(f"{folder}{stem}{ending}")
    found = by_split.get(None, [])
    if set(by_split) - {None}:
        found = by_split.get(split) or (by_split.get("test") if split == "valid" else None) or []
    return sorted(found) or None


@settings(max_examples=150, deadline=None)
@given(tree=TREES)
def test_training_and_the_tokenizer_see_the_same_files_of_a_split_in_the_order_of_their_paths(tmp_path_factory, tree) -> None:
    folder = make(tmp_path_factory.mktemp("tree"), *tree)
    for split in ("train", "valid"):
        wanted = expected(tree, split)
        if wanted is None:
            with pytest.raises(CodeparrotError, match="holds no"):
                open_shards([str(folder)], split=split, column="content", seq_length=8)
            with pytest.raises(CodeparrotError, match="holds no"):
                find_data(str(folder)).of(split)
            continue
        files = [str(folder / each) for each in wanted]
        stream = open_shards([str(folder)], split=split, column="content", seq_length=8)
        tokenizer = sample(find_data(str(folder)).of(split), "content", 1000)
        assert [getattr(shard, "path", None) for shard in stream] == files
        assert [piece.file for piece in tokenizer.pieces] == files


@settings(max_examples=50, deadline=None)
@given(tree=TREES)
def test_a_glob_is_what_a_folder_is_among_the_files_that_fit(tmp_path_factory, tree) -> None:
    folder = make(tmp_path_factory.mktemp("tree"), *tree, "data/data.jsonl", "data/state.json")
    whole = sorted(file for files in find_data(str(folder)).by_split.values() for file in files if file.endswith(".jsonl"))
    pattern = f"{folder}/**/*.jsonl"
    files = find_data(pattern)
    corpus = open_source(pattern, Reading(0, 1000, (".py",), ColumnNames()))
    assert sorted(file for each in files.by_split.values() for file in each) == whole
    assert sorted({getattr(unit, "file", None) for unit in corpus.units}, key=str) == whole
    stream = open_shards([pattern], split="train", column="content", seq_length=8)
    assert [getattr(shard, "path", None) for shard in stream] == files.of("train")


def test_a_glob_over_train_files_and_others_is_divided_and_any_other_is_taken_literally(tmp_path) -> None:
    make(tmp_path, "train_00.jsonl", "train_01.jsonl", "validation-0.jsonl", "test.jsonl", "more/train/a.jsonl", "rest.jsonl")

    def names(pattern: str, split: str) -> list[str]:
        return [str(Path(file).relative_to(tmp_path)) for file in find_data(f"{tmp_path}/{pattern}").of(split)]

    assert names("*.jsonl", "train") == ["train_00.jsonl", "train_01.jsonl"]
    assert names("*.jsonl", "valid") == ["validation-0.jsonl"]
    assert names("**/t*.jsonl", "valid") == ["test.jsonl"]
    assert names("**/*.jsonl", "train") == ["more/train/a.jsonl", "train_00.jsonl", "train_01.jsonl"]
    assert names("t*_*.jsonl", "valid") == ["train_00.jsonl", "train_01.jsonl"], "no other split fits: the user has chosen"
    assert names("[tv]*[tn]-0.jsonl", "train") == ["validation-0.jsonl"]
    assert names("r*.jsonl", "valid") == ["rest.jsonl"]


def test_files_that_belong_to_no_split_are_said_once(tmp_path, caplog) -> None:
    make(tmp_path, "train.jsonl", "valid.jsonl", "extra.jsonl", "more/extra.jsonl")
    for split in ("train", "valid", "train"):
        find_data(str(tmp_path)).of(split)
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        f"2 files name no split, such as {tmp_path}/extra.jsonl, and are left out, since {tmp_path}/train.jsonl names one; "
        "rename what is to be trained on to train-*"
    ]


@pytest.mark.parametrize("name", ["a.JSONL", "a.jsonl.xz", "a.ndjson", "a.json.BZ2", "a.arrow", "a.Parquet"])
def test_tables_of_a_kind_that_is_not_read_are_said_once(tmp_path, caplog, name) -> None:
    make(tmp_path, "b.jsonl", name, "a.parquet.tmp", "a.jsonl.md5", "a.csv", f".hidden/{name}")
    for _ in range(2):
        assert find_data(str(tmp_path)).of("train") == [str(tmp_path / "b.jsonl")]
    (message,) = [record.message for record in caplog.records]
    assert message.startswith(f"{tmp_path}: {tmp_path}/{name} is left out, since only .parquet, .jsonl, ")
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(CodeparrotError, match=f"holds no Parquet or JSONL files, but {name}; name a folder of .*`to_parquet`"):
        find_data(str(tmp_path))


@pytest.mark.parametrize("names", [["train-0.jsonl"], ["train-0.jsonl", "valid-0.jsonl"], ["part-0.jsonl"]])
def test_what_a_corpus_left_out_is_never_data(tmp_path, names) -> None:
    corpus = make(tmp_path / "c", "statistics.json", "removed/samples.jsonl", *names)
    data = [str(corpus / name) for name in names]
    for name in (corpus, tmp_path, f"{corpus}/**/*.jsonl", f"{tmp_path}/**/*.jsonl"):
        assert sorted(chain.from_iterable(find_data(str(name)).by_split.values())) == data
    with pytest.raises(CodeparrotError, match="matches nothing"):
        find_data(f"{tmp_path}/*/*/*.jsonl")
    removed = f"{corpus}/removed/samples.jsonl"
    assert find_data(f"{corpus}/removed/*.jsonl").of("train") == [removed], "named is named"
    (corpus / "statistics.json").unlink()
    assert removed in find_data(str(corpus)).by_split[None], "elsewhere a folder like any other"


def test_a_glob_passes_over_hidden_names_that_it_does_not_spell(tmp_path) -> None:
    make(tmp_path, "a.jsonl", "_b.jsonl", ".c.jsonl", "_tmp/d.jsonl", ".e/f.jsonl", "g/_h.jsonl")

    def names(pattern: str) -> list[str]:
        return [str(Path(file).relative_to(tmp_path)) for file in find_data(f"{tmp_path}/{pattern}").of("train")]

    assert names("*.jsonl") == ["a.jsonl"]
    assert names("**/*.jsonl") == ["a.jsonl"]
    assert names("_*.jsonl") == ["_b.jsonl"]
    assert names("**/_*.jsonl") == ["_b.jsonl", "g/_h.jsonl"]
    assert names("_tmp/*.jsonl") == ["_tmp/d.jsonl"]
    assert names(".e/**") == [".e/f.jsonl"]


def test_loops_of_links_end_in_a_glob_and_each_folder_is_entered_once(tmp_path) -> None:
    make(tmp_path / "data", "a/one.jsonl", "b/two.jsonl")
    make(tmp_path / "disk", "three.jsonl")
    for name in ("a", "b"):
        (tmp_path / "data" / name / "loop").symlink_to("..")
        (tmp_path / "data" / name / "other").symlink_to(tmp_path / "data" / ("b" if name == "a" else "a"))
    (tmp_path / "data" / "far").symlink_to(tmp_path / "disk")
    expected = [f"{tmp_path}/data/{each}" for each in ("a/one.jsonl", "b/two.jsonl", "far/three.jsonl")]
    for pattern in ("data", "data/**/*.jsonl", "data/*/*.jsonl"):
        assert find_data(f"{tmp_path}/{pattern}").of("train") == expected
    assert find_data(f"{tmp_path}/data/a/*/*/*.jsonl").of("train") == [f"{tmp_path}/data/a/loop/a/one.jsonl"] + [
        f"{tmp_path}/data/a/loop/{each}" for each in ("b/two.jsonl", "far/three.jsonl")
    ]


@pytest.mark.parametrize(
    "files",
    [
        ("train.jsonl", "valid.jsonl", "test.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/validation-00000-of-00001.jsonl"),
        ("train/a.jsonl", "val/b.jsonl"),
        ("python-training.jsonl", "python-dev.jsonl", "config.json"),
        ("a.jsonl", "b/c.jsonl"),
    ],
)
def test_a_folder_is_divided_as_datasets_divides_it(tmp_path, files) -> None:
    """A pushed folder keeps its splits."""
    ours = find_data(str(make(tmp_path, *files))).by_split
    found: Any = datasets.load_dataset_builder(str(tmp_path)).config.data_files
    theirs = {str(split): each for split, each in found.items()}
    assert hub.open_data_set(hub.parse(f"hub:{tmp_path}"), None).files == theirs
    words = {"train": "train", "validation": "valid", "test": "test"}
    assert {split or "train": set(each) for split, each in ours.items()} == {
        words[split]: set(each) for split, each in theirs.items()
    }


def test_what_tools_write_beside_data_is_no_data(tmp_path) -> None:
    beside = (
        "dataset_info.json",
        "state.json",
        "dataset_infos.json",
        "README.json",
        "statistics.json",
        "sub/dataset_dict.json",
    )
    make(tmp_path, "docs.jsonl", ".ipynb_checkpoints/docs-checkpoint.jsonl", *beside)
    assert find_data(str(tmp_path)).of("train") == [str(tmp_path / "docs.jsonl")]
    assert find_data(str(tmp_path / "state.json")).of("train") == [str(tmp_path / "state.json")], "named is named"
    assert find_data(str(tmp_path / "*" / "dataset_dict.json")).of("train") == [str(tmp_path / "sub" / "dataset_dict.json")]


def test_a_folder_that_is_named_may_itself_be_hidden_or_called_like_a_split(tmp_path) -> None:
    make(tmp_path, ".cache/test/a.jsonl")
    files = find_data(str(tmp_path / ".cache" / "test"))
    assert (files.is_divided, files.of("train")) == (False, [str(tmp_path / ".cache" / "test" / "a.jsonl")])


def test_the_test_split_stands_in_for_the_validation_split_alone(tmp_path) -> None:
    make(tmp_path, "train.jsonl", "test.jsonl")
    assert find_data(str(tmp_path)).of("valid") == [str(tmp_path / "test.jsonl")]
    make(tmp_path, "valid.jsonl")
    assert find_data(str(tmp_path)).of("valid") == [str(tmp_path / "valid.jsonl")]
    (tmp_path / "train.jsonl").unlink()
    message = r"holds no train files, only valid \(valid\.jsonl\), test \(test\.jsonl\); rename files to train-\*"
    with pytest.raises(NoSplit, match=message) as caught:
        find_data(str(tmp_path)).of("train")
    assert caught.value.present == ["valid", "test"]
    assert find_data(str(tmp_path)).of("test") == find_data(str(tmp_path)).of("evaluation") == [str(tmp_path / "test.jsonl")]


def test_links_count_as_what_they_lead_to_and_loops_end(tmp_path) -> None:
    make(tmp_path / "disk", "one.jsonl", "more/two.jsonl")
    make(tmp_path / "data", "a/train.jsonl")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "again").symlink_to("a")
    (tmp_path / "data" / "a" / "loop").symlink_to("..")
    (tmp_path / "data" / "valid.jsonl").symlink_to(tmp_path / "disk" / "one.jsonl")
    found = find_data(str(tmp_path / "data")).by_split
    names = {split: [str(Path(each).relative_to(tmp_path / "data")) for each in files] for split, files in found.items()}
    assert names == {"train": ["a/train.jsonl"], "valid": ["valid.jsonl"], None: ["b/more/two.jsonl", "b/one.jsonl"]}


@pytest.mark.parametrize("target", ["nowhere.jsonl", "lost.jsonl"])
def test_a_link_to_nothing_is_an_error_because_data_would_be_missing(tmp_path, target) -> None:
    make(tmp_path, "a.jsonl")
    (tmp_path / "lost.jsonl").symlink_to(target)
    with pytest.raises(CodeparrotError, match=r"lost\.jsonl is a link that leads nowhere: mend or remove it"):
        find_data(str(tmp_path))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path) -> None:
    make(tmp_path, "a.jsonl", "closed/b.jsonl")
    (tmp_path / "closed").chmod(0)
    tmp_path.chmod(0o755)
    child = os.fork()  # root may list every folder: the child gives that right up
    if not child:
        with suppress(BaseException):  # it must not go on with other tests
            os.chdir(tmp_path)
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            try:
                find_data(".")
            except CodeparrotError as error:
                os._exit(0 if "closed cannot be listed; check its permissions" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.jsonl", r"nowhere\.jsonl does not exist; mend the path"),
        ("*.parquet", r"\*\.parquet matches nothing; mend the path"),
        ("x.csv", r"x\.csv is not a data file: unknown kind; name \.parquet, "),
        ("empty", "empty holds no Parquet or JSONL files; name a folder of"),
        ("*", r"is not a data file"),
    ],
)
def test_what_is_no_data_is_named_with_the_remedy(tmp_path, name, message) -> None:
    make(tmp_path, "x.csv", "a.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CodeparrotError, match=message):
        find_data(str(tmp_path / name))


def test_several_paths_in_one_text_are_told_how_a_list_is_written(tmp_path, monkeypatch) -> None:
    make(tmp_path, "a.jsonl", "b.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CodeparrotError, match=r"as a list: \[a.jsonl, b.jsonl\] in a file, a.jsonl b.jsonl on the command line"
    ):
        find_data("a.jsonl, b.jsonl")
    with pytest.raises(CodeparrotError, match="mend the path"):
        find_data("a.jsonl,c.jsonl")


@pytest.mark.parametrize("name", ["", "*.jsonl", NO_UTF8])
def test_a_file_whose_name_is_not_text_is_an_error(tmp_path, name) -> None:
    """Neither Arrow nor a configuration could hold it."""
    make(tmp_path, "a.jsonl", NO_UTF8)
    with pytest.raises(CodeparrotError, match="has a name that is not UTF-8: rename it"):
        find_data(str(tmp_path / name))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("Train/0001.parquet", "train"),
        ("train/valid-1.jsonl", "valid"),
        ("test/deep/er/x.jsonl", "test"),
        ("strain.jsonl", None),
        ("latest/contest.jsonl", None),
    ],
)
def test_a_split_is_a_whole_word_of_the_nearest_name(path, split) -> None:
    assert split_of(path) == split
