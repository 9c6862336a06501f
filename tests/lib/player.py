# SPDX-License-Identifier: MPL-2.0
"""An HTTP server that plays back answers and remembers what it was asked: what the command line talks to
when its own behaviour is the question."""

import http.server
import threading


class Player(http.server.ThreadingHTTPServer):
    """Every request goes to fn(handler, body) -> (status, headers, bytes). `asked`: (method, path, headers, body)."""

    daemon_threads = True

    def __init__(self, fn):
        super().__init__(('127.0.0.1', 0), Handler)
        self.fn, self.asked = fn, []
        self.url = 'http://127.0.0.1:%d' % self.server_port

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.server.asked.append((self.command, self.path, self.headers, body))
        status, headers, data = self.server.fn(self, body)
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_DELETE = answer
