"""A problem as a conversation: asks a model that was trained to answer for the whole function."""

import ast
import hashlib
import json
from typing import Any

from codeparrot.errors import CodeparrotError

REQUEST = "Complete this Python function. Answer with the whole function in one block of code.\n\n```python\n{prompt}\n```"
STOP = ("\n```",)


def conversation(tokenizer: Any, prompt: str) -> tuple[int, ...]:
    """Return the tokens of a conversation that asks for a function, up to where the answer's code begins.

    Raises:
        CodeparrotError: the tokenizer has no template for conversations.
    """
    if not tokenizer.chat_template:
        raise CodeparrotError("the model's tokenizer has no chat template: leave out --chat")
    asked = [{"role": "user", "content": REQUEST.format(prompt=prompt.rstrip())}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    return (*ids, *tokenizer("```python\n", add_special_tokens=False)["input_ids"])


def digest(tokenizer: Any) -> str:
    """Return what identifies a tokenizer's template for conversations: another one asks in other words."""
    return hashlib.sha256(json.dumps(tokenizer.chat_template, sort_keys=True).encode()).hexdigest()


def behind(prompt: str) -> str:
    """Return the text between a problem's prompt and an answer, a whole function that redefines the one the prompt began."""
    return "\n\n" if _compiles(prompt) else "\n    pass\n\n"


def _compiles(source: str) -> bool:
    """Return whether a source is complete: a signature without a docstring is not."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
