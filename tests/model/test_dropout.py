import pytest

from codeparrot.model.dropout import unasked
from codeparrot.model.families import model_config


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"family": "gpt2"}, {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}),
        ({"family": "gpt2", "attn_pdrop": 0.2, "resid_pdrop": 0.0}, {"embd_pdrop": 0.1}),
        ({"family": "gpt2", "attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}, {}),
        ({"family": "xglm"}, {"dropout": 0.1, "attention_dropout": 0.1}),
        ({"family": "llama"}, {}),
        ({"family": "bloom"}, {}),
    ],
    ids=str,
)
def test_dropout_that_no_setting_names_is_found(settings, expected) -> None:
    assert unasked(settings, model_config(settings)) == expected
