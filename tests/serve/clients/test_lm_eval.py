"""lm-eval's RemoteTokenizer makes tokens by the server."""

from tests.serve.conftest import Served


def test_what_it_knows_of_the_tokenizer_is_true(served: Served) -> None:
    info, tokenizer = served.client.get("/tokenizer_info").json(), served.service.tokenizer
    assert info["eos_token"] == tokenizer.eos_token
    assert served.post("/tokenize", prompt=info["eos_token"], add_special_tokens=False)["tokens"] == [tokenizer.eos_token_id]
    assert not info["chat_template"]


def test_tokens_are_the_tokenizers_and_become_the_text_again(served: Served) -> None:
    text = "def größe(a):\n\treturn  '🙂'\n"
    answer = served.post("/tokenize", prompt=text, add_special_tokens=False)
    assert answer["tokens"] == served.service.tokenizer(text)["input_ids"]
    assert (answer["count"], answer["max_model_len"]) == (len(answer["tokens"]), served.service.context)
    assert served.post("/detokenize", tokens=answer["tokens"])["prompt"] == text
