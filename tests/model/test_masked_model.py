"""Masked models: loss and gradients are the family's own, on batches of transformers' own collator."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.families import build_model, model_config, without_weights
from codeparrot.model.kinds import families, kind_of, predicted
from codeparrot.model.masked_model import MaskedHead, MaskedModel

SIZES: dict[str, Any] = {"vocab_size": 520, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 40, "initializer_range": 0.3}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {**SIZES, **NO_DROPOUT},
    "roberta": {**SIZES, **NO_DROPOUT, "pad_token_id": 1},
    "modernbert": {**SIZES, "layer_types": ["full_attention", "sliding_attention"], "local_attention": 4},
}
END = 0


def model_of(family: str, end: int | None = None, **changes: Any) -> MaskedModel:
    settings = model_config({"family": family, **FAMILIES.get(family, SIZES), **changes}, "masked")
    return build_model(settings, seed=1, end_of_document=end)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


@pytest.fixture(scope="module")
def batches(tokenizer_folder, texts) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Input ids and labels that transformers makes of windows of code, with its own shares of masks."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"mask_token": "<mask>", "pad_token": "<pad>"})
    ids = [token for text in texts[:5] for token in tokenizer(text)["input_ids"]]
    windows = [{"input_ids": ids[start : start + 24]} for start in range(0, 24 * 16, 24)]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.3, seed=1)
    made = [collate(windows[start : start + 4]) for start in range(0, 16, 4)]
    return [(each["input_ids"], each["labels"]) for each in made]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "rows in steps"])
def test_loss_and_gradients_are_the_familys_own(family, compiled, batches, monkeypatch) -> None:
    if compiled:  # only its padding is compared: a compiler need not be here
        monkeypatch.setattr(MaskedHead, "compiled", True)
        monkeypatch.setattr(
            "codeparrot.model.loss._compiled", lambda: __import__("codeparrot.model.loss").model.loss.losses_and_gradients
        )
    model = model_of(family)
    assert not model.own_loss and isinstance(model.model.get_output_embeddings(), MaskedHead)
    for input_ids, labels in batches:
        own = model.model(input_ids=input_ids, labels=labels).loss
        own.backward()
        expected = gradients(model.model)
        loss = model(input_ids, labels)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(own.item(), rel=1e-5)
        for name, gradient in gradients(model.model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


def test_sums_and_windows_are_of_the_predicted_tokens_alone(batches) -> None:
    model = model_of("bert").eval()
    for input_ids, labels in batches:
        count = int((labels != IGNORED).sum())
        assert int(model.num_predicted(labels)) == count == int((predicted(labels, "masked") != IGNORED).sum())
        with torch.no_grad():
            mean, total, windows = (model(input_ids, labels, each) for each in ("mean", "sum", "windows"))
        assert total.item() == pytest.approx(mean.item() * count, rel=1e-5)
        assert windows.shape == (4,) and windows.sum().item() == pytest.approx(total.item(), rel=1e-5)
        expected = [model(input_ids[row : row + 1], labels[row : row + 1], "sum").item() for row in range(4)]
        assert windows.tolist() == pytest.approx(expected, rel=1e-5)


def test_nothing_to_predict_is_a_loss_of_0(batches) -> None:
    model = model_of("bert")
    loss = model(batches[0][0], torch.full_like(batches[0][1], IGNORED))
    loss.backward()
    assert loss.item() == 0 and all(not gradient.any() for gradient in gradients(model).values())


def test_z_loss_is_in_the_gradients_alone(batches) -> None:
    input_ids, labels = batches[0]
    settings = model_config({"family": "bert", **FAMILIES["bert"]}, "masked")
    plain, drawn = build_model(settings, seed=1), build_model(settings, seed=1, z_loss=1e-2)
    kept = labels != IGNORED
    logits = plain.model(input_ids=input_ids).logits[kept]
    expected = torch.nn.functional.cross_entropy(logits, labels[kept]) + 1e-2 * logits.logsumexp(-1).pow(2).mean()
    expected.backward()
    with_it = gradients(plain)
    loss = drawn(input_ids, labels)
    loss.backward()
    assert loss.item() == pytest.approx(plain(input_ids, labels).item(), rel=1e-6)
    for name, gradient in gradients(drawn).items():
        torch.testing.assert_close(gradient, with_it[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_documents_that_do_not_see_each_other_have_the_loss_that_they_have_alone(family) -> None:
    model = model_of(family, end=END, max_position_embeddings=64).eval()
    lengths = (7, 11, 6)
    rng = torch.Generator().manual_seed(3)
    windows = torch.randint(2, 500, (2, sum(lengths)), generator=rng)
    windows[:, 6] = windows[:, 17] = END
    labels = torch.full_like(windows, IGNORED)
    labels[:, [1, 5, 9, 12, 20]] = windows[:, [1, 5, 9, 12, 20]]
    together = model(windows, labels, "sum")
    together.backward()
    whole = gradients(model)
    parts = zip(windows.split(lengths, 1), labels.split(lengths, 1), strict=True)
    alone = torch.stack([model(*part, "sum") for part in parts]).sum()
    alone.backward()
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-4)
    model.end_of_document = None
    assert model(windows, labels, "sum").item() != pytest.approx(alone.item(), rel=1e-3)


@pytest.mark.parametrize("padding", [1, 6, 7, 14])
def test_documents_are_kept_apart_whatever_the_padding_token_is(padding) -> None:
    assert model_of("roberta", end=END, pad_token_id=padding, max_position_embeddings=64).end_of_document == END


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"family": "gpt2"}, "masked", "; name bert, roberta or modernbert (objective.name causal trains a gpt2)"),
        (
            {"family": "modernbert"},
            "causal",
            '; did you mean "modernbert-decoder"? (objective.name masked trains a modernbert)',
        ),
        ({"family": "modern_bert"}, "masked", 'is not a model type of transformers; did you mean "modernbert"?'),
        ({"family": "t5"}, "causal", "(objective.name span trains a t5)"),
        ({"family": "bart"}, "masked", '"bart" is not a masked language model'),
    ],
)
def test_a_family_of_another_kind_is_refused_with_the_right_one(settings, kind, words) -> None:
    with pytest.raises(CodeparrotError, match=re.escape(words)):
        model_config(settings, kind)


def test_models_that_see_one_side_are_refused() -> None:
    with pytest.raises(
        CodeparrotError, match=r"this bert sees only the tokens before a masked one; set model.is_decoder: false"
    ):
        model_of("bert", is_decoder=True)
    with pytest.raises(CodeparrotError, match="roberta does not run without a padding token; name a tokenizer that has one"):
        model_of("roberta", pad_token_id=None)
    with pytest.raises(CodeparrotError, match=r"sees the tokens that it is to predict; .*, or objective.name masked"):
        build_model(model_config({"family": "bert", **FAMILIES["bert"]}), seed=1)


def test_a_config_says_its_kind(tmp_path) -> None:
    from transformers import AutoConfig, BertForMaskedLM, BertLMHeadModel

    masked, causal = (model_config({"family": "bert", **FAMILIES["bert"]}, kind) for kind in ("masked", "causal"))
    assert (kind_of(masked), kind_of(causal)) == ("masked", "causal")
    # Encoders on the Hub often name the class without a head.
    for family, name, kind in (
        ("roberta", "RobertaModel", "masked"),
        ("bert", "BertForSequenceClassification", "masked"),
        ("t5", "T5EncoderModel", "encoder-decoder"),
        ("gpt2", "GPT2Model", "causal"),
        ("bart", "BartForCausalLM", "causal"),
    ):
        config = AutoConfig.for_model(family)
        config.architectures = [name]
        assert kind_of(config) == kind
    assert isinstance(without_weights(masked), BertForMaskedLM) and isinstance(without_weights(causal), BertLMHeadModel)
    model_of("bert").model.save_pretrained(tmp_path)
    assert kind_of(AutoConfig.from_pretrained(tmp_path)) == "masked"
    both: Any = SimpleNamespace(model_type="bart", architectures=["BartForConditionalGeneration"])
    assert kind_of(both) == "encoder-decoder" and "bart" not in families("masked")


@pytest.mark.parametrize("family", ["electra", "distilbert", "camembert", "roformer", "deberta-v2", "albert"])
def test_other_families_have_the_loss_that_transformers_gives_them(family) -> None:
    sizes = {key: value for key, value in SIZES.items() if key not in ("num_hidden_layers", "num_attention_heads")}
    sizes |= {"embedding_size": 16} if family in ("electra", "roformer", "albert") else {}
    if family == "distilbert":
        sizes = {"vocab_size": 520, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    else:
        sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    built = build_model(model_config({"family": family, **sizes, "pad_token_id": 1}, "masked"), seed=1).eval()
    ids = torch.randint(2, 500, (2, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, ::3] = IGNORED
    assert built(ids, labels).item() == pytest.approx(built.model(input_ids=ids, labels=labels).loss.item(), rel=1e-5)
