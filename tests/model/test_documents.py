"""Documents of a window that do not see each other: loss and gradients are those of the documents one by one."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED, documents
from codeparrot.model.families import build_model, model_config
from codeparrot.model.language_model import LanguageModel
from codeparrot.model.loss import num_predicted

END = 3
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "n_positions": 24,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "llama": {
        **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "max_position_embeddings": 24},
    },
}


def model_of(family: str, end: int | None = END, **changes: Any) -> LanguageModel:
    settings = model_config({"family": family, "vocab_size": 32, **FAMILIES.get(family, {}), **changes})
    return build_model(settings, seed=1, end_of_document=end)


def windows_of(seed: int, lengths: tuple[int, ...] = (5, 1, 1, 9, 8)) -> np.ndarray:
    """Return two windows of 24 tokens with documents of these lengths, the second one in reverse; the last one has no end."""
    rng = np.random.default_rng(seed)
    rows = []
    for own in (lengths, lengths[::-1]):
        row = rng.integers(END + 1, 32, sum(own))
        row[np.cumsum(own)[:-1] - 1] = END
        rows.append(row)
    return np.array(rows)


def gradients(model: LanguageModel) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize(
    "changes", [{}, {"scale_attn_by_inverse_layer_idx": True}, {"family": "llama"}], ids=["gpt2", "scaled", "llama"]
)
def test_loss_and_gradients_are_those_of_the_documents_one_by_one(changes) -> None:
    family = changes.get("family", "gpt2")
    masked = model_of(family, **{key: value for key, value in changes.items() if key != "family"})
    windows = windows_of(0)
    ids = torch.tensor(windows)
    labels = torch.tensor(documents.within_documents(windows, windows, END))
    loss = masked(ids, labels, "sum")
    loss.backward()
    together = gradients(masked)
    masked.end_of_document = None
    alone = torch.zeros(())
    predicted = 0
    for row in ids:
        for document in row.tensor_split((row[:-1] == END).nonzero().flatten() + 1):
            own = document[None]
            alone = alone + masked(own, own, "sum")
            predicted += int(num_predicted(own))
    assert int(num_predicted(labels)) == predicted
    alone.backward()
    assert abs(loss.item() - alone.item()) / predicted < 1e-5
    for name, expected in gradients(masked).items():
        torch.testing.assert_close(together[name], expected, rtol=1e-4, atol=1e-5)
    # Without the mask it is another loss, so the test can fail.
    assert abs(masked(ids, labels, "sum").item() - loss.item()) / predicted > 1e-3


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=3))
def test_positions_mask_and_bounds_say_the_same(ends) -> None:
    ids = torch.tensor([[END if end else 9 for end in row] for row in ends])
    found = documents.documents(ids, END, flash=False, dtype=torch.float32)
    assert found.mask is not None
    for row, own in enumerate(ends):
        # Of ends in a row, each but the first belongs to the document before it.
        document = np.cumsum([0, *(before and not here for before, here in pairwise(own))])
        for place in range(9):
            assert found.positions[row, place] == place - np.flatnonzero(document == document[place])[0]
            expected = (document == document[place]) & (np.arange(9) <= place)
            assert found.mask[row, 0, place].tolist() == np.where(expected, 0, -np.inf).tolist()
    bounds = documents.documents(ids, END, flash=True, dtype=torch.float32).bounds
    assert bounds is not None and bounds.dtype == torch.int32 and len(bounds) & (len(bounds) - 1) == 0
    starts = found.positions.flatten().eq(0).nonzero().flatten().tolist()
    assert bounds.tolist() == starts + [ids.numel()] * (len(bounds) - len(starts))
    assert len(bounds) > len(starts)


def test_attention_for_many_lengths_takes_the_joined_windows() -> None:
    """On a GPU: here only shapes are computed."""
    with FakeTensorMode():
        query, key, value = (torch.empty(2, 4, 24, 8, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        bounds = torch.empty(8, device="cuda", dtype=torch.int32)
        mixed = documents.attention(query, key, value, bounds, 0.0, 0.5)
    assert mixed.shape == query.shape and mixed.dtype == torch.bfloat16
    assert not documents.takes_flash(model_of("gpt2").model.base_model, torch.device("cpu"), torch.bfloat16)


@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_a_family_that_cannot_keep_documents_apart_is_refused(family) -> None:
    sizes = {"bloom": {"hidden_size": 16, "n_layer": 1, "n_head": 2}, "mamba": {"hidden_size": 16, "num_hidden_layers": 1}}
    with pytest.raises(CodeparrotError, match=rf"stream\.document_mask: model\.family {family} cannot keep documents apart"):
        model_of(family, **sizes[family])


def test_the_first_token_of_a_document_is_not_predicted() -> None:
    windows = windows_of(0)
    labels = documents.within_documents(windows, windows, END)
    assert (labels[0] == IGNORED).nonzero()[0].tolist() == [5, 6, 7, 16]
    assert (windows != IGNORED).all()
