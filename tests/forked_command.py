"""`invora` in the shells of tests: `forking_server` forks the command, with the streams that this process has.

Runs without site-packages, and loads next to nothing.
"""

import marshal
import os
import socket
import sys


def main(path: str, *arguments: str) -> int:
    """Ask the server at this path for a command, and end as it ends."""
    body = marshal.dumps((list(arguments), dict(os.environ), os.getcwd()))
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(body).to_bytes(4)], [0, 1, 2])
        server.sendall(body)
        code = int.from_bytes(server.recv(2), signed=True)
    return code if code >= 0 else 128 - code


sys.exit(main(*sys.argv[1:]))
