"""A relay before a server, which can fall silent: it still takes connections and data, and answers nothing."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.02


class Relay:
    """Passes bytes on between its clients and a server on loopback, while it is not silent.

    Args:
        port: The server's; without one nothing ever answers.
    """

    def __init__(self, port: int | None = None) -> None:
        self.silent = threading.Event()
        self.accepted = 0
        self._target = port
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(TICK_SECONDS)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for one in (self._listening, *self._open):
            one.close()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listening.getsockname()[1])

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listening.accept()
            except TimeoutError:
                continue
            self.accepted += 1
            self._open.append(client)
            if self._target is None:
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open.append(server)
            for pair in ((client, server), (server, client)):
                pump = threading.Thread(target=self._pump, args=pair)
                self._threads.append(pump)
                pump.start()

    def _pump(self, origin: socket.socket, target: socket.socket) -> None:
        origin.settimeout(TICK_SECONDS)
        while not self._ended.is_set():
            if self.silent.is_set():
                self._ended.wait(TICK_SECONDS)
                continue
            try:
                data = origin.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            while self.silent.is_set() and not self._ended.is_set():  # what came meanwhile is not passed on either
                self._ended.wait(TICK_SECONDS)
            with contextlib.suppress(OSError):  # the other side may be gone
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
