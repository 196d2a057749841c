"""A cap keeps the first documents of a language in the order of the corpus, whatever the workers and the order of reading."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.cli import main
from codeparrot.corpus import caps
from codeparrot.corpus.hashes import position
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.settings import checked_caps
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import LENIENT, digests, make, read

OPTIONS: dict[str, Any] = {"filters": LENIENT, "valid_fraction": 0, "near_duplicates": NearDuplicates(threshold=0)}
LANGUAGES = ("json", "yaml", "python")


def rows(count: int = 90) -> list[dict[str, str]]:
    dice = random.Random(5)
    made = []
    for number in range(count):
        content = "\n".join(f"{'abcdefgh'[dice.randrange(8)]}{dice.getrandbits(40):x}" for _ in range(dice.randrange(5, 60)))
        made.append(
            {"repo_name": f"r{number % 7}", "path": f"p{number}", "content": content, "language": LANGUAGES[number % 3]}
        )
    return [*made, *({**row, "path": row["path"] + "copy"} for row in made[:30])]


def write(file: Path, documents: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(each) + "\n" for each in documents))
    return file


def sizes(corpus: Path, language: str) -> list[int]:
    return [each["size"] for each in read(corpus) if each["language"] == language]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "out"
    make(write(output.parent / "rows.jsonl", rows()), output, **OPTIONS)
    return output


@pytest.mark.slow
@pytest.mark.parametrize("bits", [16, 2, 1])
def test_the_first_documents_that_fit_stay_and_the_rest_is_counted(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr(caps, "_PARTS", 1 << bits)
    monkeypatch.setattr(caps, "_SHIFT", np.uint64(64 - bits))
    before = sizes(whole, "json")
    cap = sum(before) // 2
    statistics = make(whole.parent / "rows.jsonl", tmp_path / "out", caps={"JSON": cap}, **OPTIONS)
    after = sizes(tmp_path / "out", "json")
    assert after == before[: len(after)] and sum(after) <= cap < sum(before[: len(after) + 1])
    removed = statistics["removed"]["capped"]
    assert (removed["files"], removed["bytes"]) == (len(before) - len(after), sum(before) - sum(after))
    assert removed["rule"] == f"beyond the first {cap:,} bytes of json"
    for other in ("yaml", "python"):
        assert sizes(tmp_path / "out", other) == sizes(whole, other)
    left = [stage for stage in statistics["waterfall"] if stage["stage"] == "capped"]
    assert left[0]["files"] == statistics["documents"] and statistics["settings"]["caps"] == {"json": cap}
    assert "| capped |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("more", "kept"), [(0, 3), (-1, 2), (1, 3)])
def test_a_cap_that_is_met_to_the_byte_keeps_the_document(whole: Path, tmp_path: Path, more: int, kept: int) -> None:
    before = sizes(whole, "yaml")
    make(whole.parent / "rows.jsonl", tmp_path / "out", caps={"yaml": sum(before[:3]) + more}, **OPTIONS)
    assert sizes(tmp_path / "out", "yaml") == before[:kept]


@pytest.mark.slow
def test_a_cap_above_everything_removes_nothing_and_a_small_one_everything(whole: Path, tmp_path: Path) -> None:
    statistics = make(whole.parent / "rows.jsonl", tmp_path / "out", caps={"json": 10**12, "yaml": 1}, **OPTIONS)
    assert sizes(tmp_path / "out", "json") == sizes(whole, "json") and not sizes(tmp_path / "out", "yaml")
    assert statistics["removed"]["capped"]["files"] == len(sizes(whole, "yaml"))


def test_documents_are_in_the_order_of_the_corpus(whole: Path) -> None:
    places = [position(0, each["repo_name"], each["path"]) for each in read(whole)]
    assert places == sorted(places)


@pytest.mark.slow
def test_neither_workers_nor_the_order_of_reading_nor_an_interruption_change_a_byte(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap = {"json": sum(sizes(whole, "json")) // 3, "python": sum(sizes(whole, "python")) // 2}
    turned = write(tmp_path / "rows.jsonl", rows()[::-1])
    for name, source, workers in (
        ("one", whole.parent / "rows.jsonl", 1),
        ("two", whole.parent / "rows.jsonl", 2),
        ("turned", turned, 1),
    ):
        make(source, tmp_path / name / "out", workers=workers, caps=cap, **OPTIONS)
    from codeparrot.corpus import pipeline

    def killed(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "_write", killed)
        make(whole.parent / "rows.jsonl", tmp_path / "again" / "out", caps={"json": 5}, **OPTIONS)
    make(whole.parent / "rows.jsonl", tmp_path / "again" / "out", caps=cap, **OPTIONS)
    one = digests(tmp_path / "one" / "out")
    assert digests(tmp_path / "two" / "out") == one and digests(tmp_path / "again" / "out") == one
    assert read(tmp_path / "turned" / "out") == read(tmp_path / "one" / "out")


@pytest.mark.slow
def test_the_command_takes_caps_one_by_one_or_together(whole: Path, tmp_path: Path) -> None:
    arguments = ["corpus", "build", "--source", str(whole.parent / "rows.jsonl"), "--workers", "1", "--filters.min_size", "0"]
    arguments += ["--filters.min_equals_signs", "0", "--filters.no_keyword_chance", "0"]
    for name, flags in (("a", ["--caps.json", "900", "--caps.yaml", "800"]), ("b", ["--caps", "{json: 900, yaml: 800}"])):
        assert main([*arguments, "--output", str(tmp_path / name), *flags]) == 0
        assert json.loads((tmp_path / name / "statistics.json").read_text())["settings"]["caps"] == {"json": 900, "yaml": 800}


@pytest.mark.slow
def test_a_name_that_no_rule_and_no_document_knows_is_said_once(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(whole.parent / "rows.jsonl", tmp_path / "out", caps={"jsno": 10, "css": 10, "json": 10**9}, **OPTIONS)
    assert capsys.readouterr().err.count("caps") == 1
    make(whole.parent / "rows.jsonl", tmp_path / "out2", caps={"jsno": 10}, **OPTIONS)
    assert 'caps: no document that was read is in "jsno"; did you mean "json"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"), [({"json": 0}, r"caps\.json is 0"), ({"js": 5, "JavaScript": 6}, "two numbers for javascript")]
)
def test_impossible_caps_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        checked_caps(wrong)
