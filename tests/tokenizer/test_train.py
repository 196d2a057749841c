"""The tokenizer is GPT-2's except for its vocabulary: lossless, deterministic, and unmoved by text that looks like a token."""

import hashlib
import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoTokenizer

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.eval.tasks.perplexity import bytes_per_token
from codeparrot.loading import special_ids
from codeparrot.stream.sentinels import EXTRA_IDS, MASK, PAD, SENTINELS, sentinels_of
from codeparrot.tokenizer import train as train_module
from codeparrot.tokenizer.train import END_OF_TEXT, fit, train
from tests.conftest import python_sources

TRICKY = f"def f(x):\n\t    return  12 + café — 𝒳\r\n  \n\x00 {END_OF_TEXT} 'It's don't\u2028  "


@pytest.fixture(scope="module")
def folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "tokenizer"
    train(str(corpus), str(folder), vocab_size=1000, sample_bytes=400_000)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


@given(st.text())
def test_any_text_is_restored(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text


def test_older_versions_of_transformers_can_load_it(tokenizer, tmp_path):
    """Below 5, `extra_special_tokens` is a mapping, and a list is an AttributeError. Checkpoints save the tokenizer again."""
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert "extra_special_tokens" not in settings and sentinels_of(AutoTokenizer.from_pretrained(tmp_path)) == (1, 2, 3)


def test_it_is_gpt2s_in_everything_but_the_vocabulary(tokenizer):
    assert tokenizer.is_fast and len(tokenizer) == 1000 and tokenizer.model_max_length == 1024
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.unk_token == END_OF_TEXT
    special = [END_OF_TEXT, *SENTINELS]
    assert {index: str(each) for index, each in tokenizer.added_tokens_decoder.items()} == dict(enumerate(special))
    assert all(each.special for each in tokenizer.added_tokens_decoder.values()) and sentinels_of(tokenizer) == (1, 2, 3)
    assert special_ids(tokenizer) == set(range(7)) and bytes_per_token(tokenizer, 7).tolist() == [0] * 7
    assert tokenizer.decode(list(range(7)), skip_special_tokens=True) == ""
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(tokenizer.get_vocab())
    assert tokenizer("\n    return x")["input_ids"] != tokenizer(" \n    return x")["input_ids"], "no space is put in front"
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    assert settings["pre_tokenizer"] == {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    assert settings["decoder"]["type"] == settings["post_processor"]["type"] == "ByteLevel" and settings["normalizer"] is None


def test_the_end_of_text_is_a_token_only_where_it_is_asked_for(tokenizer):
    assert tokenizer(END_OF_TEXT)["input_ids"] == [tokenizer.eos_token_id]
    assert tokenizer.eos_token_id not in tokenizer(END_OF_TEXT, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "gpt_neox"])
def test_it_stays_the_same_beside_the_config_of_a_model(folder, tokenizer, tmp_path, family):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    beside = AutoTokenizer.from_pretrained(tmp_path)
    assert beside(TRICKY)["input_ids"] == tokenizer(TRICKY)["input_ids"] and beside.eos_token_id == 0


def test_the_same_corpus_gives_the_same_tokenizer(corpus, folder, tmp_path):
    train(str(corpus), str(tmp_path / "again"), vocab_size=1000, sample_bytes=400_000)
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_text_that_spells_the_end_of_text_teaches_no_token_for_it():
    texts = [f"{END_OF_TEXT}x = 1{END_OF_TEXT}{END_OF_TEXT}\n" * 50, *python_sources(5)]
    tokenizer = fit(texts, 600)
    tokenizer.encode_special_tokens = True
    pieces = tokenizer.encode(END_OF_TEXT).tokens
    assert tokenizer.token_to_id(END_OF_TEXT) == 0 and END_OF_TEXT not in pieces and len(pieces) > 1
    assert [token for token in tokenizer.get_vocab() if "<|" in token and len(token) > 4] == [END_OF_TEXT]


def test_text_that_spells_a_sentinel_is_text(tokenizer):
    for name in SENTINELS:
        ids = tokenizer(f"x = '{name}'", split_special_tokens=True)["input_ids"]
        assert min(ids) > 6 and tokenizer.decode(ids) == f"x = '{name}'"
        assert tokenizer.decode(tokenizer(f"x{name}y")["input_ids"], skip_special_tokens=True) == "xy"
    spelled = "".join(SENTINELS)
    taught = fit([spelled * 50, *python_sources(5)], 600, special=[END_OF_TEXT, *SENTINELS])
    assert not [token for token in taught.get_vocab() if "<fim" in token and token not in SENTINELS]


def test_without_sentinels_it_is_the_tokenizer_of_earlier_versions(corpus, tmp_path):
    """The digest is that of what the version before the sentinels wrote, from a text that this test makes."""
    text = "".join(f"def f{n}(x_{n % 7}):\n    return x_{n % 7} * {n}\n\n" for n in range(400))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"content": text}) + "\n" for _ in range(60)))
    train(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), vocab_size=290, sentinels=False)
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    kept = json.dumps([written["model"]["vocab"], written["model"]["merges"], written["added_tokens"]])
    assert hashlib.sha256(kept.encode()).hexdigest() == "cc255d8d05b70ffbf7a7717c12e6d89e3e7ea857bbf8bee540ebf0ed4acd2206"
    assert sentinels_of(AutoTokenizer.from_pretrained(tmp_path / "out")) is None


def test_what_is_not_asked_for_changes_no_byte(corpus, folder, tmp_path):
    train(str(corpus), str(tmp_path / "causal"), vocab_size=1000, sample_bytes=400_000, objectives=["causal"])
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "causal").iterdir()}
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "causal" / path.name).read_bytes()
        assert not re.search(rb"<mask>|<pad>|extra_id", path.read_bytes())


@pytest.mark.parametrize("objectives", [["masked"], ["span"], ["causal", "masked", "span"], ["span", "masked"]])
def test_objectives_have_their_tokens_behind_the_sentinels(corpus, tmp_path, objectives):
    train(str(corpus), str(tmp_path / "out"), vocab_size=1000, sample_bytes=400_000, objectives=objectives)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    loaded.save_pretrained(tmp_path / "again")  # as checkpoints do
    expected = [END_OF_TEXT, *SENTINELS, PAD, *([MASK] * ("masked" in objectives)), *(EXTRA_IDS * ("span" in objectives))]
    for each in (loaded, AutoTokenizer.from_pretrained(tmp_path / "again")):
        assert each.convert_ids_to_tokens(range(len(expected))) == expected and len(each) == 1000
        assert special_ids(each) == set(range(len(expected))) and sentinels_of(each) == (1, 2, 3)
        assert each.pad_token == PAD and each.mask_token == (MASK if "masked" in objectives else None)
        assert each(expected[-1])["input_ids"] == [len(expected) - 1], "one token where it is asked for"
        ids = each(f"x = '{expected[-1]}'", split_special_tokens=True)["input_ids"]
        assert min(ids) >= len(expected) and each.decode(ids) == f"x = '{expected[-1]}'", "text is text"
        assert each.eos_token == END_OF_TEXT and each(TRICKY, split_special_tokens=True)["input_ids"]


def test_the_smallest_vocabulary_counts_the_sentinels(tmp_path):
    with pytest.raises(CodeparrotError, match=r"at least 263 \(the bytes, <\|endoftext\|> and the sentinels\)"):
        train("/nowhere", str(tmp_path / "out"), vocab_size=262)
    with pytest.raises(CodeparrotError, match=r"at least 365 \(the bytes, .*, the sentinels and 102 tokens of the objectives"):
        train("/nowhere", str(tmp_path / "out"), vocab_size=364, objectives=["masked", "span"])
    with pytest.raises(CodeparrotError, match=r"at least 257 \(the bytes and <\|endoftext\|>\)"):
        train("/nowhere", str(tmp_path / "out"), vocab_size=256, sentinels=False)


def test_the_fit_is_measured_on_documents_it_was_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "HELD_OUT_EVERY", 3)
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"content": text}) + "\n" for text in ["aaaa " * 50, "bbbb " * 50, "cccc " * 50]))
    result = train(str(path), str(tmp_path / "out"), vocab_size=263 + 5)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    assert "bb" in vocabulary and "cc" not in vocabulary
    assert result.data["documents"] == 2 and result.data["num_bytes"] == 500
    assert result.data["bytes_per_token"] == 1.0


def test_too_small_a_sample_is_refused_with_the_vocabulary_it_has(corpus, tmp_path):
    with pytest.raises(CodeparrotError, match=r"of the 30,000 tokens asked for: give a larger --sample_bytes, or .*_size \d+"):
        train(str(corpus), str(tmp_path / "out"), vocab_size=30_000, sample_bytes=50_000)
    (tmp_path / "x.jsonl").write_text(json.dumps({"content": "print('hello')\n" * 9}) + "\n")
    with pytest.raises(CodeparrotError, match="give a larger corpus"):
        train(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), vocab_size=300)
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_tokenizer_is_replaced_only_on_request_and_anything_else_never(corpus, tmp_path):
    def again(**options):
        return train(str(corpus), str(tmp_path / "out"), vocab_size=300, sample_bytes=50_000, **options)

    again()
    with pytest.raises(CodeparrotError, match="--overwrite true"):
        again()
    again(overwrite=True, model_max_length=77)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 77
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing temporary is left"
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(CodeparrotError, match=r"holds thesis\.tex"):
        again(overwrite=True)


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CodeparrotError, match="cannot be a folder"):
            train("/nowhere", str(output))


def test_interrupted_saving_leaves_the_old_tokenizer(corpus, tmp_path, monkeypatch):
    train(str(corpus), str(tmp_path / "out"), vocab_size=300, sample_bytes=50_000)
    before = (tmp_path / "out" / "tokenizer.json").read_bytes()

    def interrupted(self, folder):
        (Path(folder) / "tokenizer.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr("transformers.GPT2Tokenizer.save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(str(corpus), str(tmp_path / "out"), vocab_size=400, sample_bytes=50_000, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == before


def test_ctrl_c_ends_the_training_at_once_and_leaves_nothing(tmp_path):
    def texts():
        for number in range(10**6):
            if number == 600:
                signal.raise_signal(signal.SIGINT)
            yield python_sources(1)[0]

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fit(texts(), 500)
    assert time.monotonic() - start < 20


def test_a_damaged_file_in_the_middle_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"content": "x = 1\n"}) + "\n" + '{"cont')
    with pytest.raises(CodeparrotError, match=r"line 2 of .*x\.jsonl is not JSON"):
        train(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), vocab_size=300)


def test_the_command_prints_its_result_and_nothing_else(corpus, tmp_path, capfd):
    arguments = ["--corpus", str(corpus), "--output", str(tmp_path / "out"), "--vocab_size", "300", "--sample_bytes", "50000"]
    assert main(["tokenizer", "train", *arguments, "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["vocab_size"] == 300 and json.loads(out)["bytes_per_token"] > 1
    assert out.count("\n") == 1, "the trainer's own progress bar would write here"
    assert {line.partition(":")[0] for line in err.splitlines()} <= {"counting words", "learning merges"}, "a slow machine"
