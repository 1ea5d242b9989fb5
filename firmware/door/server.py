"""The lock's socket: who is connected, lines in, lines out, and a bound on everything a client can ask for.

One selector, nothing that blocks, and little work per turn of it whatever clients do: a client that floods costs
the others and the relays' timers next to nothing. What a line means is process.py's business.
"""

import contextlib
import errno
import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from firmware.door.protocol import MAX_LINE

MAX_CLIENTS = 8
LINES_PER_TURN = 8
MAX_UNREAD = 64 * 1024  # bytes that a client may leave unread
REQUESTS_PER_S = 50  # a station under the busiest hands asks for a few
FLOOD_PER_S = 500  # beyond that it is let go of

TOO_MANY = "too many requests"


class Client:
    """One connection. `pid` and `uid` are the kernel's word about who connected (SO_PEERCRED), for the journal."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number = number
        self.connection = connection
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.pid, self.uid, _ = struct.unpack("3i", credentials)
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.second = 0
        self.requests = 0

    def count_request(self, now: float) -> int:
        """How many this is within this second of the clock."""
        if int(now) != self.second:
            self.second, self.requests = int(now), 0
        self.requests += 1
        return self.requests


class Server:
    """Listens at `path`, replacing a socket that a dead process left there. OSError when that is impossible.

    `on_client` greets a new one, `on_line` gets each line (without its end), `on_lost` each client once.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_client: Callable[[Client], None],
        on_line: Callable[[Client, bytes], None],
        on_lost: Callable[[Client], None],
    ) -> None:
        self._path = path
        self._on_client = on_client
        self._on_line = on_line
        self._on_lost = on_lost
        self._clients: dict[int, Client] = {}
        self._pending: set[int] = set()  # clients with whole lines still to be handled
        self._next_number = 1
        self._selector = selectors.SelectSelector()  # epoll's timeout counts milliseconds; this, microseconds
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def watch(self, fd: int) -> None:
        """End a turn also when `fd` is readable; its bytes are read and dropped."""
        self._selector.register(fd, selectors.EVENT_READ, fd)

    def turn(self, timeout_s: float | None) -> None:
        """Wait for something to happen, at most so long, and handle a little of it."""
        pending, self._pending = self._pending, set()
        if pending:
            timeout_s = 0.0
        for key, events in self._selector.select(timeout_s):
            match key.data:
                case None:
                    self._accept()
                case int() as fd:
                    with contextlib.suppress(BlockingIOError):
                        os.read(fd, 4096)
                case Client() as client:
                    if events & selectors.EVENT_WRITE:
                        self._flush(client)
                    # One that has lines waiting is not read from: it waits in the kernel, not here.
                    if events & selectors.EVENT_READ and client.number not in pending:
                        self._receive(client)
        for number in pending:
            if number in self._clients:
                self._handle_lines(self._clients[number])

    def send(self, number: int, data: bytes) -> None:
        """Send to a client, as soon as it reads. One that is gone, or reads nothing, is nobody."""
        client = self._clients.get(number)
        if client is None:
            return
        client.outbox += data
        self._flush(client)
        if len(client.outbox) > MAX_UNREAD:
            self.drop(client)

    def send_all(self, data: Callable[[int], bytes]) -> None:
        for number in tuple(self._clients):
            self.send(number, data(number))

    def client(self, number: int) -> Client | None:
        return self._clients.get(number)

    def drop(self, client: Client) -> None:
        """Let go of a client. Told to `on_lost` the first time."""
        if self._clients.pop(client.number, None) is None:
            return
        self._pending.discard(client.number)
        self._selector.unregister(client.connection)
        client.connection.close()
        self._on_lost(client)

    def close(self) -> None:
        """Close all; the socket's file goes too, so that a client sees at once that nobody is there."""
        for client in tuple(self._clients.values()):
            self.drop(client)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it is gone already, or there is no descriptor for it
            return
        connection.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            with contextlib.suppress(OSError):
                connection.send(
                    b'{"event":"refused","request":null,"door":"","reason":"too many clients","at_s":0}\n'
                )
            connection.close()
            return
        client = Client(self._next_number, connection)
        self._next_number += 1
        self._clients[client.number] = client
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._on_client(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(client)
            return
        client.inbox += data
        self._handle_lines(client)

    def _handle_lines(self, client: Client) -> None:
        for _ in range(LINES_PER_TURN):
            end = client.inbox.find(b"\n")
            if end < 0 or client.number not in self._clients:
                break
            line = bytes(client.inbox[:end])
            del client.inbox[: end + 1]
            self._on_line(client, line)
        if client.number not in self._clients:
            return
        if b"\n" in client.inbox:
            self._pending.add(client.number)
        elif len(client.inbox) >= MAX_LINE:
            line, client.inbox = bytes(client.inbox), bytearray()
            self._on_line(client, line)
            self.drop(client)

    def _flush(self, client: Client) -> None:
        if client.number not in self._clients:
            return
        try:
            sent = client.connection.send(client.outbox) if client.outbox else 0
            del client.outbox[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        if self._selector.get_key(client.connection).events != wanted:
            self._selector.modify(client.connection, wanted, client)


def _listen(path: Path) -> socket.socket:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, f"{path} is there and is no socket; take it away")
        path.unlink()
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o117)  # the socket is 0660 from its first moment
    try:
        listener.bind(os.fspath(path))
        listener.listen(MAX_CLIENTS)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
