"""`python -m codeparrot`, and so `accelerate launch -m codeparrot eval humaneval ...`."""

from codeparrot.cli import entry

entry()
