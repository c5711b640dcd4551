"""An FTPS server that is not ours (pyftpdlib), in a process of its own: what our client says to it, it says to others.

python -m tests.sdk.ftp_server ROOT CERTIFICATE KEY explicit|implicit      # prints its port, stops with its input
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdk.transfer.inbox import certify


@contextmanager
def independent(root: Path, place: Path, tls: str) -> Iterator[int]:
    """Serves `root` to the account relais / the-password; its certificate is `place/server.pem`. Gives the port."""
    root.mkdir()
    certificate, key = place / "server.pem", place / "server.key"
    certify(certificate, key)
    command = [sys.executable, "-W", "ignore", "-m", "tests.sdk.ftp_server", root, certificate, key, tls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


def serve(root: str, certificate: str, key: str, tls: str) -> None:
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    accounts = DummyAuthorizer()
    accounts.add_user("relais", "the-password", root, perm="elradfmwMT")

    class Serving(TLS_FTPHandler):  # type: ignore[misc]
        certfile, keyfile = certificate, key
        authorizer = accounts
        tls_control_required = tls_data_required = True
        auth_failed_timeout = 0

        def handle(self) -> None:
            if tls == "implicit":
                self.secure_connection(self.get_ssl_context())
            super().handle()

    loop, stopping = IOLoop(), threading.Event()
    server = FTPServer(("127.0.0.1", 0), Serving, ioloop=loop)
    print(server.address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    while not stopping.is_set():
        loop.loop(timeout=0.05, blocking=False)
    server.close_all()


if __name__ == "__main__":
    serve(*sys.argv[1:])
