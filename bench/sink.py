"""An upstream that takes uploads and keeps nothing: `python -m bench.sink --port 5000`.

A thread for each connection, reads of a mebibyte: it costs a fraction of what a proxy does.
"""

from __future__ import annotations

import argparse
import re
import socket
import threading

_READ = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def take(connection: socket.socket) -> None:
    """Answer the requests of one connection, until it ends."""
    buffer = bytearray(_READ)
    with connection:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                count = connection.recv_into(buffer)
                if not count:
                    return
                rest += buffer[:count]
            head, _, body = rest.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r\n")
            left = int(length[1]) if length else 0
            rest, left = body[left:], left - len(body)
            while left > 0:
                count = connection.recv_into(buffer, min(left, _READ))
                if not count:
                    return
                left -= count
            connection.sendall(_CREATED)


def main() -> None:
    """Read the arguments and serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", arguments.port), backlog=128) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=take, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
