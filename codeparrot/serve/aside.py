"""A thread beside the event loop and the desk, for what would keep others waiting there."""

import queue
import threading
from collections.abc import Callable


class Aside:
    """Does one thing after another in a thread that ends with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def put(self, todo: Callable[[], None]) -> None:
        """Do something in the thread. It must not raise."""
        self._todo.put(todo)

    def _run(self) -> None:
        while True:
            self._todo.get()()
