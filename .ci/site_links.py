"""A hook of mkdocs: links from docs/ to other files of the repository lead to GitHub, where those files are read."""

import re
from typing import Any

LINK = re.compile(r"(?<=\]\()\.\./([^)\s]+)")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    return LINK.sub(lambda link: f"{config.repo_url}/blob/main/{link[1]}", markdown)
