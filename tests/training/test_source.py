"""`model.from`: a run begins with the weights of another model, and refuses what would make another model of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from codeparrot.arguments import parse_config
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.training.parts import Fitted, fit
from codeparrot.training.places import check_places
from codeparrot.training.source import first_weights, resize
from tests.conftest import with_end_at, with_sentinels
from tests.hub_server.fixture import HubServer
from tests.training.small_models import SIZES, model_of, write_sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> dict[str, Path]:
    return write_sources(tmp_path_factory.mktemp("sources"), tokenizer_folder)


@pytest.fixture
def settings(tmp_path: Path, corpus: Path) -> Callable[..., Config]:
    """Return the settings of a run that begins from a model."""

    def made(model: dict[str, Any], tokenizer: Path | str = "", *words: str) -> Config:
        data = ["--stream.train", str(corpus), "--stream.seq_length", "32", "--run.dir", str(tmp_path / "runs")]
        return parse_config([*data, "--model", json.dumps(model), "--tokenizer.path", str(tokenizer), *words])

    return made


class Alone:
    """What `first_weights` asks of an Accelerator."""

    state = None


def begun_with(fitted: Fitted) -> dict[str, torch.Tensor]:
    assert fitted.source is not None
    model = first_weights(fitted.config, fitted.source, fitted.settings, Alone())
    assert model.training
    return dict(model.named_parameters())


@pytest.mark.parametrize("family", SIZES)
def test_the_first_weights_are_those_of_the_source(sources, settings, family) -> None:
    fitted = fit(settings({"from": str(sources[family])}))
    assert fitted.config.model["family"] == family
    expected = AutoModelForCausalLM.from_pretrained(sources[family])
    found = begun_with(fitted)
    assert list(found) == [name for name, _ in expected.named_parameters()]
    for name, parameter in expected.named_parameters():
        assert torch.equal(found[name], parameter) and found[name].dtype == torch.float32


def test_weights_in_half_precision_become_float32(sources, settings, tmp_path) -> None:
    half = AutoModelForCausalLM.from_pretrained(sources["llama"], dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(sources["llama"]).save_pretrained(tmp_path / "half")
    found = begun_with(fit(settings({"from": str(tmp_path / "half")})))
    for name, parameter in half.named_parameters():
        assert found[name].dtype == torch.float32 and torch.equal(found[name], parameter.float())


def test_weights_do_not_stay_in_the_file(sources, settings, tmp_path) -> None:
    """What becomes of the source's file while the run goes on changes nothing."""
    place = shutil.copytree(sources["gpt2"], tmp_path / "model")
    found = begun_with(fit(settings({"from": str(place)})))
    before = {name: parameter.clone() for name, parameter in found.items()}
    with (place / "model.safetensors").open("r+b") as file:
        file.seek(0)
        file.write(bytes((place / "model.safetensors").stat().st_size))
    assert all(torch.equal(parameter, before[name]) for name, parameter in found.items())


@pytest.mark.parametrize("family", SIZES)
def test_new_rows_are_the_mean_of_the_old_ones(sources, settings, tokenizer_folder, tmp_path, family) -> None:
    tokenizer = with_sentinels(tokenizer_folder, tmp_path / "tokenizer")
    fitted = fit(settings({"from": str(sources[family]), "resize_embeddings": True}, tokenizer))
    assert fitted.settings.vocab_size == 515
    found = begun_with(fitted)
    expected: Any = AutoModelForCausalLM.from_pretrained(sources[family])
    tables = {expected.get_input_embeddings().weight, expected.get_output_embeddings().weight}
    assert len(tables) == (1 if family == "gpt2" else 2)
    for name, old in expected.named_parameters():
        if old in tables:
            assert torch.equal(found[name][:512], old) and found[name].shape[0] == 515
            for row in found[name][512:]:
                torch.testing.assert_close(row, old.mean(0), rtol=0, atol=1e-6)
        else:
            assert torch.equal(found[name], old)


def test_the_bias_of_a_head_is_resized_too() -> None:
    model = model_of("gpt2")
    head: Any = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.arange(512.0))
    resize(model, 514)
    bias = model.get_output_embeddings().bias
    assert bias.shape == (514,) and torch.equal(bias[:512], torch.arange(512.0)) and bias[512:].tolist() == [255.5, 255.5]


def test_what_does_not_change_the_source_may_be_set(sources, settings) -> None:
    fitted = fit(settings({"from": str(sources["gpt2"]), "attn_pdrop": 0.25, "n_layer": 2, "family": "gpt2"}))
    assert fitted.settings.attn_pdrop == 0.25 and fitted.settings.resid_pdrop == 0.1


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "another width": ("gpt2", {"n_embd": 64}, r"model.n_embd 64 contradicts model.from: \S+ has 32; leave it out"),
    "an alias of it": ("gpt2", {"hidden_size": 64}, r"model.hidden_size 64 contradicts model.from: \S+ has 32"),
    "another function": ("gpt2", {"activation_function": "relu"}, r"model.activation_function relu contradicts"),
    "other frequencies": ("llama", {"rope_theta": 5e5}, r"model.rope_theta 500000.0 contradicts"),
    "another family": ("gpt2", {"family": "llama"}, r"model.family llama contradicts model.from: \S+ is a gpt2"),
    "a family that is written, and the default": (
        *("llama", {"family": "gpt2"}),
        r"model.family gpt2 contradicts model.from: \S+ is a llama; leave it out",
    ),
    "a field it does not have": ("llama", {"n_embd": 64}, r"model.n_embd is not a setting of llama"),
    "a value of the wrong type": ("gpt2", {"attn_pdrop": "much"}, r"model.attn_pdrop with value 'much'"),
}


@pytest.mark.parametrize(("family", "fields", "words"), REFUSED.values(), ids=REFUSED)
def test_a_setting_that_contradicts_the_weights_is_refused(sources, settings, family, fields, words) -> None:
    with pytest.raises(CodeparrotError, match=words):
        fit(settings({"from": str(sources[family]), **fields}))


def test_the_default_family_contradicts_nothing_and_a_written_one_does(sources, corpus, tmp_path) -> None:
    """On the command line, as `--model.from` alone, and in a file."""
    data = ["--stream.train", str(corpus), "--stream.seq_length", "32", "--run.dir", str(tmp_path / "runs")]
    llama, written = str(sources["llama"]), ["--model.family", "gpt2"]
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": {"family": "gpt2", "from": llama}}), encoding="utf-8")
    assert fit(parse_config([*data, "--model.from", llama])).config.model["family"] == "llama"
    for words in ([*written, "--model.from", llama], ["--model.from", llama, *written], ["--config", str(file)]):
        with pytest.raises(CodeparrotError, match=r"model\.family gpt2 contradicts model\.from: \S+ is a llama; leave it out"):
            fit(parse_config([*data, *words]))
    assert fit(parse_config([*data, *written, "--model.from", str(sources["gpt2"])])).config.model["family"] == "gpt2"


def test_a_longer_tokenizer_is_refused_with_the_setting_that_adds_rows(sources, settings, tokenizer_folder, tmp_path) -> None:
    tokenizer = with_sentinels(tokenizer_folder, tmp_path / "tokenizer")
    with pytest.raises(CodeparrotError, match=r"has 512 rows .* tokenizer 515 ids; set model.resize_embeddings true to add 3"):
        fit(settings({"from": str(sources["gpt2"])}, tokenizer))


def test_longer_windows_than_positions_are_refused(sources, settings) -> None:
    with pytest.raises(
        CodeparrotError, match=r"stream.seq_length 64 is beyond the 32 positions of .*; set stream.seq_length 32"
    ):
        fit(settings({"from": str(sources["gpt2"])}, "", "--stream.seq_length", "64"))


def test_another_end_of_documents_is_refused_until_it_is_set(sources, settings, tmp_path) -> None:
    place = shutil.copytree(sources["gpt2"], tmp_path / "model")
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**config, "eos_token_id": 7}), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"ends documents with 7 and the tokenizer with 0 .*; set model.eos_token_id 0"):
        fit(settings({"from": str(place)}))
    assert fit(settings({"from": str(place), "eos_token_id": 0})).settings.eos_token_id == 0


def test_a_tokenizer_with_other_ids_is_refused(sources, settings, tokenizer_folder, tmp_path) -> None:
    moved = with_end_at(tokenizer_folder, 511, tmp_path / "moved")
    with pytest.raises(CodeparrotError, match=r"is not the tokenizer whose ids .* leave tokenizer.path out to keep its own"):
        fit(settings({"from": str(sources["gpt2"])}, moved))
    cut = shutil.copytree(tokenizer_folder, tmp_path / "cut")
    content = json.loads((cut / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["merges"].reverse()
    (cut / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"a line of code is \d+ tokens there and \d+ here"):
        fit(settings({"from": str(sources["gpt2"])}, cut))


def test_a_model_without_a_tokenizer_takes_the_one_that_is_named(sources, settings, tokenizer_folder, tmp_path) -> None:
    model_of("gpt2").save_pretrained(tmp_path / "bare")
    with pytest.raises(CodeparrotError, match=r"bare holds no tokenizer; name its own in tokenizer.path"):
        fit(settings({"from": str(tmp_path / "bare")}))
    assert fit(settings({"from": str(tmp_path / "bare")}, tokenizer_folder)).source is not None


def test_pickled_weights_are_not_read(sources, settings, tmp_path) -> None:
    place = shutil.copytree(sources["gpt2"], tmp_path / "model")
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(CodeparrotError, match=r"holds no \*.safetensors; pickled weights may run code and are not read"):
        fit(settings({"from": str(place)}))


def test_code_beside_the_weights_is_not_run(sources, settings, tmp_path) -> None:
    place = shutil.copytree(sources["gpt2"], tmp_path / "model")
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    code = {"model_type": "ours", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (place / "config.json").write_text(json.dumps(config | code), encoding="utf-8")
    (place / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(CodeparrotError) as error:
        fit(settings({"from": str(place)}))
    assert "\n" not in str(error.value) and str(place) in str(error.value) and not (tmp_path / "ran").exists()


def test_weights_that_are_cut_short_are_named_in_one_line(sources, settings, tmp_path) -> None:
    place = shutil.copytree(sources["gpt2"], tmp_path / "model")
    content = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(CodeparrotError, match=r"no model can be loaded from .*model") as error:
        begun_with(fit(settings({"from": str(place)})))
    assert "\n" not in str(error.value)


def test_a_mistyped_source_is_refused_before_anything_is_loaded(sources, settings, tmp_path) -> None:
    with pytest.raises(CodeparrotError, match=r'model.from: there is no folder .*; did you mean ".*gpt2"'):
        check_places(settings({"from": str(sources["gpt2"].with_name("gpt"))}))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"from": ""}, "model.from is ''; name a folder"),
        ({"from": "x", "resize_embeddings": "much"}, "model.resize_embeddings is 'much'; it is true or false"),
        ({"family": "gpt2", "resize_embeddings": True}, "model.resize_embeddings is for weights that model.from names"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, model, words) -> None:
    with pytest.raises(CodeparrotError, match=words):
        settings(model, "tokenizer")


@pytest.mark.parametrize("kind", ["folder", "gguf", "file"])
def test_resume_says_what_it_was_given_instead_of_a_run(sources, settings, tmp_path, kind) -> None:
    (tmp_path / "x.gguf").touch()
    (tmp_path / "x.txt").touch()
    place = {"folder": sources["gpt2"], "gguf": tmp_path / "x.gguf", "file": tmp_path / "x.txt"}[kind]
    with pytest.raises(CodeparrotError, match=rf"cannot resume from {place}: it is a .* without the state of a run") as error:
        check_places(settings({"family": "gpt2"}, sources["gpt2"], "--resume", str(place)))
    assert ('{"from": ' in str(error.value)) == (kind != "file")


def test_resume_and_another_source_are_not_both_taken(sources, settings, tokenizer_folder, tmp_path, corpus) -> None:
    """The checkpoint's weights would win, and the run's record would name the source."""
    from types import SimpleNamespace

    from codeparrot.loading import tokenizer_digest
    from codeparrot.training.resume import _objection

    place = tmp_path / "run" / "checkpoints" / "step_00000001"
    shutil.copytree(sources["gpt2"], place / "model")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    facts = {"step": 1, "tokens": 1, "tokenizer_sha256": tokenizer_digest(tokenizer), "files": {}, "version": 2}
    config = settings({"from": str(sources["gpt2"])}, "", "--resume", str(place))
    for saved, objects in ((str(sources["gpt2"]), False), ("another", True)):
        manifest = {**facts, "config": {"model": {"from": saved}, "resume": "auto"}}
        (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        fitted = fit(config)
        start: Any = SimpleNamespace(config=config, tokenizer=fitted.tokenizer, settings=fitted.settings)
        assert fitted.source is None
        assert (_objection(start, place) is not None) == objects


def test_a_run_that_goes_on_from_the_hub_does_not_ask_for_its_source(here: HubServer, sources, settings) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=here.url, token=here.token)
    api.create_repo("me/pushed")
    api.upload_folder(repo_id="me/pushed", folder_path=sources["llama"])
    here.forget_requests()
    fitted = fit(settings({"from": "me/vanished"}, "", "--resume", "hub:me/pushed"))
    assert fitted.source is None and fitted.config.model == {"from": "me/vanished", "family": "llama"}
    assert fitted.tokenizer.eos_token_id == 0


def test_a_plan_takes_the_shape_of_the_source_and_fetches_no_weights(here: HubServer, sources, settings, tmp_path) -> None:
    from huggingface_hub import HfApi

    from codeparrot.plan import sizes

    api = HfApi(endpoint=here.url, token=here.token)
    api.create_repo("me/shape")
    api.upload_folder(repo_id="me/shape", folder_path=sources["llama"])
    expected = AutoModelForCausalLM.from_pretrained(sources["llama"]).num_parameters()
    for name in ("me/shape", str(sources["llama"])):
        config = settings({"from": name})
        assert sizes.count(config, sizes.model_settings(config), sizes.Corpus(None, "")).parameters == expected
    import huggingface_hub.constants

    assert not list(Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("*.safetensors"))


def test_the_card_names_what_the_run_began_with(sources) -> None:
    from dataclasses import asdict

    from codeparrot.location import Branch
    from codeparrot.publishing.card import model_card

    config = Config(model={"family": "llama", "from": "/secret/path/source"})
    config.stream.train = ["data"]
    for name, told, base in (("/secret/path/source", "source", False), ("me/source@v1", "me/source@v1", True)):
        weights = {"from": name, "revision": "abc", "sha256": {"model.safetensors": "0123"}}
        manifest = {"config": asdict(config), "step": 1, "tokens": 10, "origin": {"weights": weights}}
        card = model_card(manifest, [], {}, Branch("me/run", "main"), 10, plot=False)
        assert f"| weights | those of {told} at abc (SHA-256: model.safetensors 0123) |" in card
        assert ("base_model: me/source\n" in card) == base and "/secret" not in card


def test_a_recipe_that_names_weights_replaces_the_shape_of_one_before_it(tmp_path) -> None:
    (tmp_path / "ours.yaml").write_text("model: {from: me/source}\ntokenizer: {path: ''}\n", encoding="utf-8")
    config = parse_config(["--config", "configs/nano.yaml", "--config", str(tmp_path / "ours.yaml")])
    assert config.model == {"from": "me/source"} and config.train.max_steps > 0


def test_a_model_of_the_hub_is_fetched_at_the_commit_it_has_now(here: HubServer, sources, settings) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=here.url, token=here.token)
    api.create_repo("me/source")
    commit = api.upload_folder(repo_id="me/source", folder_path=sources["llama"]).oid
    fitted = fit(settings({"from": "me/source@main"}))
    assert fitted.source is not None and fitted.config.model["family"] == "llama"
    facts = fitted.source.facts()
    assert facts["from"] == "me/source@main" and facts["revision"] == commit and list(facts["sha256"]) == ["model.safetensors"]
    expected = AutoModelForCausalLM.from_pretrained(sources["llama"])
    assert all(torch.equal(begun_with(fitted)[name], parameter) for name, parameter in expected.named_parameters())
