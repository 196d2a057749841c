"""What a process is given before the loop begins."""

import resource
from types import SimpleNamespace

from codeparrot.training.processes import quiet_and_ready


def test_the_limit_of_open_files_is_raised() -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before), hard))
        quiet_and_ready(SimpleNamespace(device=SimpleNamespace(type="meta")))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == (1 << 16 if hard == resource.RLIM_INFINITY else hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
