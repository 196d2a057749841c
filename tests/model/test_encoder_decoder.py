"""The loss of an encoder-decoder is the family's own, and so are its gradients."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, PLBartConfig, T5Config

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.encoder_decoder import DecoderHead, EncoderDecoder

T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "max_position_embeddings": 32,
}
BART |= {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in (("attention_heads", 2), ("ffn_dim", 32))}
IDS: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 1, "eos_token_id": 0, "decoder_start_token_id": 1}
UNSCALED: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
CONFIGS = {
    "t5": T5Config(**T5, **IDS),
    "t5 v1.1": T5Config(**T5, **IDS, **UNSCALED),
    "bart": BartConfig(**BART, **IDS, bos_token_id=2),
    "plbart": PLBartConfig(**BART, **IDS, bos_token_id=2),
}


def made(name: str) -> Any:
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(copy.deepcopy(CONFIGS[name]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    input_ids, labels = (torch.randint(2, 50, (3, length), generator=draw) for length in (11, 7))
    labels[0, -2:] = IGNORED
    labels[2, 0] = IGNORED
    return input_ids, labels


@pytest.fixture(params=sorted(CONFIGS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_loss_and_gradients_are_the_familys_own(name: str) -> None:
    plain, wrapped = made(name), EncoderDecoder(made(name))
    assert not wrapped.own_loss and type(wrapped.model.get_output_embeddings()) is DecoderHead
    input_ids, labels = batch()
    expected = plain(input_ids=input_ids, labels=labels).loss
    expected.backward()
    loss = wrapped(input_ids, labels)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.shape == ()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    largest = max(float(own.grad.abs().max()) for own in plain.parameters())  # the gradients of keys' biases are noise around 0
    for (key, found), (_, own) in zip(wrapped.model.named_parameters(), plain.named_parameters(), strict=True):
        assert (found.grad is None) == (own.grad is None), key
        if own.grad is not None:
            torch.testing.assert_close(found.grad, own.grad, rtol=1e-5, atol=1e-5 * largest)


def test_sums_and_windows_are_of_the_predicted_tokens(name: str) -> None:
    wrapped, (input_ids, labels) = EncoderDecoder(made(name)), batch()
    mean, total = wrapped(input_ids, labels), wrapped(input_ids, labels, "sum")
    assert wrapped.num_predicted(labels) == (labels != IGNORED).sum() == 18
    torch.testing.assert_close(total / 18, mean)
    each = wrapped(input_ids, labels, "windows")
    assert each.shape == (3,) and not each.requires_grad
    torch.testing.assert_close(each.sum(), total.detach())
    alone = torch.stack([wrapped(one[None], other[None], "sum") for one, other in zip(input_ids, labels, strict=True)])
    torch.testing.assert_close(each, alone.detach())


def test_the_familys_own_loss_gives_the_same(name: str) -> None:
    ours, own, (input_ids, labels) = EncoderDecoder(made(name)), EncoderDecoder(made(name), own_loss=True), batch()
    for reduction in ("mean", "sum", "windows"):
        torch.testing.assert_close(own(input_ids, labels, reduction), ours(input_ids, labels, reduction), rtol=1e-5, atol=0)


def test_the_model_inside_still_writes_and_has_its_names(name: str) -> None:
    plain, wrapped, (input_ids, labels) = made(name).eval(), EncoderDecoder(made(name)).eval(), batch()
    wrapped(input_ids, labels)
    assert list(plain.state_dict()) == list(wrapped.model.state_dict())
    models: list[Any] = [plain, wrapped.model]
    written = [each.generate(input_ids, max_new_tokens=5, do_sample=False) for each in models]
    assert torch.equal(*written)


def test_a_family_that_changes_its_logits_uses_its_own_loss(caplog: pytest.LogCaptureFixture) -> None:
    model, plain, (input_ids, labels) = made("bart"), made("bart"), batch()
    for each in (model, plain):
        each.final_logits_bias += torch.arange(50) / 10
    wrapped = EncoderDecoder(model)
    assert wrapped.own_loss and "it changes the logits after the head" in caplog.text
    torch.testing.assert_close(wrapped(input_ids, labels), plain(input_ids=input_ids, labels=labels).loss)


def test_nothing_predicted_is_a_loss_of_0() -> None:
    wrapped, (input_ids, labels) = EncoderDecoder(made("t5")), batch()
    loss = wrapped(input_ids, torch.full_like(labels, IGNORED))
    loss.backward()
    assert loss.item() == 0


def test_what_is_missing_is_named() -> None:
    model = made("t5")
    model.config.decoder_start_token_id = None
    with pytest.raises(CodeparrotError, match=r"model\.decoder_start_token_id is missing: the decoder of a t5 begins with it"):
        EncoderDecoder(model)
    with pytest.raises(CodeparrotError, match=r"stream\.document_mask: .* set it to false"):
        EncoderDecoder(made("t5")).mask_documents(0)
