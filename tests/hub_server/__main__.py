"""Start a Hub by hand, or for tests/hub_server/fixture.py, which talks to it over standard input and output (`--control`).

python -m tests.hub_server --folder /tmp/hub --port 8000
"""

import argparse
import contextlib
import json
import sys
import threading
from pathlib import Path

from tests.hub_server import control
from tests.hub_server.access import new_token
from tests.hub_server.routes import route
from tests.hub_server.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description="A Hub on this machine.")
    parser.add_argument("--folder", type=Path, required=True, help="where the repositories are; made if it is not there")
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    parser.add_argument("--control", action="store_true", help="take commands from standard input, end when it ends")
    arguments = parser.parse_args()
    server = Server(arguments.folder, arguments.port, route)
    server.accept()
    if arguments.control:
        print(json.dumps({"port": server.port}), flush=True)
        control.serve(server, sys.stdin, sys.stdout)
        return
    token = new_token()
    server.access.allow(token, "me", "write")
    print(f"export HF_ENDPOINT={server.url} HF_TOKEN={token} HF_HUB_DISABLE_XET=1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main()
