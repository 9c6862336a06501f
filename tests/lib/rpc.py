# SPDX-License-Identifier: MPL-2.0
"""The message plane from Python: real RPC requests to a server's :4647, with the messages of proto/.

    with rpc.Client(node.addr) as c:
        answer = c.call(33, pb.EvalDequeueRequest(types=['service']), pb.EvalDequeueResponse, wait_ms=1000)
"""

import importlib
import os
import socket
import subprocess
import sys
import tempfile
import types

import rawwire

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'proto')
PORT = 4647


def _load():
    """All messages of proto/ in one namespace."""
    out = tempfile.TemporaryDirectory(prefix='steppe-proto-')
    names = sorted(n for n in os.listdir(PROTO) if n.endswith('.proto'))
    subprocess.run(['protoc', '-I', PROTO, '--python_out', out.name] + names, check=True, cwd=PROTO)
    sys.path.insert(0, out.name)
    pb = types.SimpleNamespace(_folder=out)
    for n in names:
        module = importlib.import_module(n[:-6] + '_pb2')
        for name in module.DESCRIPTOR.message_types_by_name:
            setattr(pb, name, getattr(module, name))
    sys.path.remove(out.name)
    return pb


pb = _load()


class Error(Exception):
    """An answer that is an error: code, text, retryable."""

    def __init__(self, rep):
        super().__init__('%d: %s' % (rep.code, rep.error))
        self.code, self.text, self.retryable = rep.code, rep.error, rep.retryable


class Client:
    """One connection, one request at a time. Not getting an answer in time is a TimeoutError."""

    def __init__(self, addr, port=PORT, timeout=20.0):
        self.timeout = timeout
        self.dealer = rawwire.Dealer(addr, port, timeout=timeout)
        self.last_id = 0
        self.reply = None          # the envelope of the last answer

    def send(self, method, msg=None, wait_ms=0, timeout=None, **env):
        self.last_id += 1
        hop = self.last_id.to_bytes(8, 'big')
        request = pb.Request(version=1, method=method, wait_ms=wait_ms,
                             timeout_ms=int(1000 * (timeout or self.timeout)), **env)
        self.dealer.send(hop, request.SerializeToString(), msg.SerializeToString() if msg is not None else b'')
        return hop

    def answer(self, hop, answer=None, timeout=None):
        """Waits for the answer to what send() sent; earlier ones are passed over."""
        self.dealer.s.settimeout((timeout or self.timeout) + 5)
        try:
            while True:
                parts = self.dealer.read_message()
                if parts[0] == hop:
                    break
        except socket.timeout as e:
            raise TimeoutError('no answer in time') from e
        self.reply = pb.Reply.FromString(parts[1])
        if self.reply.code:
            raise Error(self.reply)
        body = parts[2] if len(parts) > 2 else b''   # an empty body has no frame
        return answer.FromString(body) if answer else body

    def call(self, method, msg=None, answer=None, wait_ms=0, timeout=None, **env):
        return self.answer(self.send(method, msg, wait_ms, timeout, **env), answer, timeout)

    def close(self):
        self.dealer.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
