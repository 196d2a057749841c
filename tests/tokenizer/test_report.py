"""The report measures every tokenizer on the same text and says plainly what it cannot load."""

import json
from collections import Counter

import pytest
from transformers import AutoTokenizer

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.tokenizer.measures import KEYWORDS, identifiers
from codeparrot.tokenizer.report import report
from codeparrot.tokenizer.train import train


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory, corpus):
    """A tokenizer that knows nothing but bytes: every figure about it is known."""
    folder = tmp_path_factory.mktemp("bytes") / "tokenizer"
    train(str(corpus), str(folder), vocab_size=257, sample_bytes=50_000, sentinels=False)
    return str(folder)


@pytest.fixture(scope="module")
def result(bytes_folder, tokenizer_folder, corpus):
    return report(str(tokenizer_folder), str(corpus), other=[bytes_folder], baseline=bytes_folder)


def test_bytes_alone_measure_as_what_they_are(result, bytes_folder):
    measured = result.data["tokenizers"][1]
    assert measured["tokenizer"] == bytes_folder and measured["vocab_size"] == 257
    assert measured["bytes_per_token"] == 1.0 and measured["lossless"] == 1.0
    assert measured["indentation_tokens"] == {4: 4, 8: 8, 12: 12, 16: 16}, "the last space belongs to the word that follows"
    assert measured["missing_keywords"] == [p + word for word in KEYWORDS for p in ("", " ") if len(p + word) > 1]
    assert measured["tokens_per_identifier"] > 3


def test_learned_tokens_measure_better_on_the_same_text(result, corpus, tokenizer_folder):
    learned, plain = result.data["tokenizers"]
    assert result.data["held_out"] and result.data["documents"] == 24
    assert learned["bytes_per_token"] > 1.5 > plain["bytes_per_token"]
    assert learned["tokens_per_identifier"] < plain["tokens_per_identifier"]
    assert learned["whole_identifiers"] > plain["whole_identifiers"]
    assert "def" not in learned["missing_keywords"] and " def" not in learned["missing_keywords"]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    assert learned["last_tokens"][0] == tokenizer.decode([511])
    assert len(learned["longest_tokens"][0]) == max(len(tokenizer.decode([index])) for index in range(1, 512))


def test_what_was_learned_first_and_last(result, tokenizer_folder):
    learned, plain = result.data["tokenizers"]
    merges = json.loads((tokenizer_folder / "tokenizer.json").read_text())["model"]["merges"]
    assert len(learned["first_merges"]) == len(learned["last_merges"]) == 10
    shown = [[part.replace("Ġ", " ").replace("Ċ", "\n") for part in pair] for pair in merges]
    assert [list(pair) for pair in learned["first_merges"]] == shown[:10]
    assert [list(pair) for pair in learned["last_merges"]] == shown[:-11:-1]
    assert "".join(learned["last_merges"][0]) == learned["last_tokens"][0]
    assert plain["first_merges"] == plain["last_merges"] == []
    left, right = learned["first_merges"][0]
    assert f"  merged first  {left!r}+{right!r}  " in result.text


def test_words_take_so_many_tokens_and_the_rest_of_the_vocabulary_is_unused(bytes_folder, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"content": "ab cde\n\tf ab"}) + "\n")
    measured = report(bytes_folder, str(tmp_path), baseline="").data["tokenizers"][0]
    assert measured["tokens_per_word"] == (2 + 4 + 1 + 3) / 4
    assert measured["num_tokens"] == 12
    assert measured["unused"] == pytest.approx(1 - len(set("ab cde\n\tf")) / 256)


def test_the_length_is_compared_with_the_baseline(result, corpus, tokenizer_folder):
    learned, plain = result.data["tokenizers"]
    assert (
        plain["length_against_baseline"] == 1.0
        and learned["length_against_baseline"] == learned["num_tokens"] / plain["num_tokens"]
    )
    assert result.data["baseline"]["num_tokens"] == plain["num_tokens"]
    row = next(line for line in result.text.splitlines() if line.startswith("length against"))
    assert row.split()[-2:] == [f"{learned['length_against_baseline']:.1%}", "100.0%"]


def test_the_baseline_is_that_of_gpt2_where_it_can_be_loaded(bytes_folder, corpus, monkeypatch):
    from codeparrot.hub import fetch

    asked: list[str] = []

    def tokenizer(name: str) -> str:
        asked.append(name)
        return bytes_folder

    monkeypatch.setattr(fetch, "tokenizer", tokenizer)
    found = report(bytes_folder, str(corpus), sample_bytes=20_000)
    assert asked == ["openai-community/gpt2"]
    assert (
        found.data["tokenizers"][0]["length_against_baseline"] == 1.0 and "length against openai-community/gpt2" in found.text
    )


def test_a_baseline_that_cannot_be_loaded_is_said(bytes_folder, corpus, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = report(bytes_folder, str(corpus), sample_bytes=20_000)
    assert found.data["baseline"] is None and found.data["tokenizers"][0]["length_against_baseline"] is None
    assert "no length against openai-community/gpt2: cannot read the tokenizer" in found.text
    with pytest.raises(CodeparrotError, match="nobody/nothing"):
        report(bytes_folder, str(corpus), baseline="nobody/nothing")
    assert "length against" not in report(bytes_folder, str(corpus), sample_bytes=20_000, baseline="").text


def test_the_table_has_a_column_for_each(result):
    lines = result.text.splitlines()
    row = next(line for line in lines if line.startswith("vocabulary"))
    assert row.split()[-2:] == ["512", "257"]
    assert len({len(line) for line in lines[2:17]}) == 1, "columns line up"
    assert all(line.isprintable() for line in lines)
    assert f"  {result.data['tokenizers'][0]['last_tokens'][0]!r}  " in result.text, "tokens are shown escaped"


def test_identifiers_are_names_of_the_program_with_the_space_before_them():
    source = '"""words in a docstring"""\ndef area(width):\n    return width * height  # comment\nx = "string" if area(\n'
    assert identifiers([source]) == Counter({" area": 2, "width": 1, " width": 1, " height": 1, "x": 1})
    assert identifiers(["if a:\n    b\n  c\n"]) == Counter({" a": 1, " b": 1}), "up to where it stops being Python"


def test_text_that_spells_a_special_token_counts_as_text(bytes_folder, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"content": "<|endoftext|>" * 3}) + "\n")
    measured = report(bytes_folder, str(tmp_path)).data["tokenizers"][0]
    assert measured["bytes_per_token"] == 1.0 and measured["lossless"] == 1.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}/emtpy", 'there is no folder ".*emtpy"; did you mean ".*empty"'),
        ("{}/empty", "no tokenizer can be loaded from the folder"),
        ("{}/broken", "no tokenizer can be loaded from the folder"),
        ("{}/model", "holds no tokenizer"),
        ("{}/file", "is a file"),
        ("nobody/nothing", 'cannot read the tokenizer "nobody/nothing" from the Hub'),
    ],
)
def test_what_cannot_be_loaded_is_one_line(bytes_folder, corpus, tmp_path, capsys, monkeypatch, name, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for folder in ("empty", "broken", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text('{"version": "1.0", "model"')
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "file").write_text("")
    with pytest.raises(CodeparrotError, match=message) as error:
        report(bytes_folder, str(corpus), other=[name.format(tmp_path)])
    assert "\n" not in str(error.value)


def test_the_command_reports_as_json(bytes_folder, corpus, capfd):
    assert main(["tokenizer", "report", "--tokenizer", bytes_folder, "--corpus", str(corpus), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["tokenizers"][0]["vocab_size"] == 257
    assert {line.partition(" ")[0] for line in err.splitlines()} <= {"asking", "loading", "measuring:"}
