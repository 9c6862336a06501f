# SPDX-License-Identifier: MPL-2.0
"""Bytes for the ports of a node that nobody in his right mind would send, and some that are right."""

import contextlib
import os
import socket
import struct


def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(no, value):
    """One protobuf field: int -> varint, bytes or str -> length-delimited."""
    if isinstance(value, int):
        return varint(no << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(no << 3 | 2) + varint(len(value)) + value


def envelope(method, region='', timeout_ms=2000, **more):
    """A request as proto/envelope.proto has it; more: number=value of further fields (f11=3)."""
    out = field(1, 1) + field(2, method) + field(3, region) + field(10, timeout_ms)
    for k, v in more.items():
        out += field(int(k[1:]), v)
    return out


# The greeting of ZMTP 3.0 with the NULL mechanism.
GREETING = b'\xff' + bytes(8) + b'\x7f\x03\x00' + b'NULL'.ljust(20, b'\0') + bytes(32)


def ready():
    body = b'\x05READY\x0bSocket-Type' + struct.pack('>I', 6) + b'DEALER'
    return b'\x04' + bytes([len(body)]) + body


def frame(data, more=False):
    """One ZMTP frame."""
    if len(data) < 256:
        return bytes([1 if more else 0, len(data)]) + data
    return bytes([3 if more else 2]) + struct.pack('>Q', len(data)) + data


def message(*parts):
    return b''.join(frame(p, i < len(parts) - 1) for i, p in enumerate(parts))


class Dealer:
    """Just enough of a ZeroMQ DEALER over tcp to send what libzmq would refuse to."""

    def __init__(self, addr, port, timeout=10.0):
        self.s = socket.create_connection((addr, port), timeout=timeout)
        self.s.settimeout(timeout)
        self.s.sendall(GREETING)
        self._read(64)
        self.s.sendall(ready())
        self.read_frame()  # its READY

    def _read(self, n):
        out = b''
        while len(out) < n:
            chunk = self.s.recv(n - len(out))
            if not chunk:
                raise ConnectionResetError('closed after %d of %d bytes' % (len(out), n))
            out += chunk
        return out

    def read_frame(self):
        flags = self._read(1)[0]
        n = struct.unpack('>Q', self._read(8))[0] if flags & 2 else self._read(1)[0]
        return flags, self._read(n)

    def read_message(self):
        parts = []
        while True:
            flags, data = self.read_frame()
            if flags & 4:  # a command: PING is answered
                if data.startswith(b'\x04PING'):
                    body = b'\x04PONG' + data[7:]
                    self.s.sendall(b'\x04' + bytes([len(body)]) + body)
                continue
            parts.append(data)
            if not flags & 1:
                return parts

    def send(self, *parts):
        self.s.sendall(message(*parts))

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def pb(data):
    """A protobuf message as [(number, value)]; doubles and nested ones as bytes."""
    out, at = [], 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            b = data[at]
            at += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    while at < len(data):
        key = number()
        if key & 7 == 0:
            out.append((key >> 3, number()))
            continue
        n = number() if key & 7 == 2 else 8
        out.append((key >> 3, data[at:at + n]))
        at += n
    return out


class Ipc(Dealer):
    """The dealer on a service's own ipc socket."""

    def __init__(self, path, timeout):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(timeout)
        self.timeout = timeout
        try:
            self.s.connect(path)
            self.s.sendall(GREETING)
            self._read(64)
            self.s.sendall(ready())
            self.read_frame()
        except OSError:
            self.s.close()
            raise

    def call(self, method, body=b''):
        """-> (code, error text, body of the reply)."""
        self.send(b'12345678', envelope(method, timeout_ms=int(self.timeout * 1000)), body)
        parts = self.read_message()
        env = dict(pb(parts[1]))
        return env.get(2, 0), env.get(3, b'').decode(), b''.join(parts[2:])


def zmtp_garbage(rnd):
    """(name, bytes) to send to a ZMTP port as they are."""
    yield 'nothing', b''
    yield 'one byte', b'\xff'
    yield 'half a greeting', GREETING[:11]
    yield 'zeros', bytes(4096)
    yield 'ones', b'\xff' * 4096
    yield 'http', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
    yield 'a nomad rpc', b'\x01' + b'\x85\xa7Service' * 20
    yield 'tls', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + rnd.randbytes(500)
    yield 'unknown mechanism', GREETING[:12] + b'BOGUS'.ljust(20, b'\0') + bytes(32) + ready()
    yield 'no ready', GREETING + message(b'x' * 8, b'y', b'')
    yield 'huge frame', GREETING + ready() + b'\x02' + struct.pack('>Q', 1 << 62) + b'x' * 1000
    yield 'negative frame', GREETING + ready() + b'\x02' + b'\xff' * 8 + b'x' * 1000
    yield 'large frame cut short', GREETING + ready() + b'\x02' + struct.pack('>Q', 1 << 30) + b'x' * 100000
    yield 'bad ready', GREETING + b'\x04\x20\x05READY\xff\xff\xff\xff' + bytes(22)
    for i in range(20):
        yield 'random %d' % i, rnd.randbytes(rnd.randrange(1, 3000))
        yield 'random after the greeting %d' % i, GREETING + ready() + rnd.randbytes(rnd.randrange(1, 3000))


def bus_garbage(rnd):
    """(name, frames) of whole messages that are no requests."""
    good = envelope(1)
    yield 'one empty frame', [b'']
    yield 'two frames', [b'12345678', good]
    yield 'short id', [b'123', good, b'']
    yield 'long id', [b'1' * 5000, good, b'']
    yield 'four frames', [b'12345678', good, b'', b'']
    yield 'a thousand frames', [b'12345678'] + [b''] * 1000
    yield 'empty envelope', [b'12345678', b'', b'']
    yield 'random envelope', [b'12345678', rnd.randbytes(200), b'']
    for n in range(1, len(good)):
        yield 'envelope cut at %d' % n, [b'12345678', good[:n], b'']
    yield 'unknown method', [b'12345678', envelope(99999), b'']
    yield 'method 0', [b'12345678', envelope(0), b'']
    yield 'unknown version', [b'12345678', field(1, 77) + field(2, 1), b'']
    yield 'long region', [b'12345678', envelope(1, 'x' * 100000), b'']
    yield 'region of zeros', [b'12345678', envelope(1, '\0' * 30), b'']
    yield 'many hops', [b'12345678', envelope(1, f11=1000000), b'']
    yield 'endless wait', [b'12345678', envelope(1, f7=1, f8=0xffffffff), b'']
    yield 'timeout 0', [b'12345678', envelope(1, timeout_ms=0), b'']
    yield 'large body', [b'12345678', good, bytes(8 << 20)]
    for i in (*range(60), *range(120, 126)):  # each method, with a body of garbage
        yield 'body of method %d' % i, [b'12345678', envelope(i), rnd.randbytes(rnd.randrange(1, 400))]
        yield 'no body of method %d' % i, [b'12345678', envelope(i), b'']
    for i in range(100):
        e = bytearray(good)
        e[rnd.randrange(len(e))] ^= 1 << rnd.randrange(8)
        yield 'flipped bit %d' % i, [b'12345678', bytes(e), rnd.randbytes(20)]


# -- gossip: memberlist packets


def mp_str(s):
    if isinstance(s, str):
        s = s.encode()
    if len(s) < 32:
        return bytes([0xa0 | len(s)]) + s
    return b'\xda' + struct.pack('>H', len(s)) + s


def mp_uint(n):
    return bytes([n]) if n < 128 else b'\xce' + struct.pack('>I', n)


def mp_map(**fields):
    out = bytes([0x80 | len(fields)])
    for k, v in fields.items():
        out += mp_str(k) + (v if isinstance(v, bytes) else mp_uint(v))
    return out


def alive(name, addr, port, meta, incarnation=1):
    """memberlist's alive message (type 4)."""
    return b'\x04' + mp_map(Incarnation=incarnation, Node=mp_str(name), Addr=mp_str(socket.inet_aton(addr)), Port=port,
                            Meta=mp_str(meta), Vsn=b'\x96\x01\x05\x02\x02\x05\x04')


def serf_meta(tags):
    """Serf's tags in the Meta of a member: 255 and a msgpack map."""
    out = b'\xff' + bytes([0x80 | len(tags)])
    for k, v in tags.items():
        out += mp_str(k) + mp_str(v)
    return out


def gossip_garbage(rnd):
    """(name, datagram)."""
    yield 'empty', b''
    for t in range(16):
        yield 'type %d alone' % t, bytes([t])
        yield 'type %d and ff' % t, bytes([t]) + b'\xff' * 50
        yield 'type %d and a deep array' % t, bytes([t]) + b'\x91' * 1200
        yield 'type %d, a map that promises much' % t, bytes([t]) + b'\xdf\xff\xff\xff\xff'
        yield 'type %d, a string that promises much' % t, bytes([t]) + b'\x81\xa4Node\xdb\xff\xff\xff\xff'
        for _ in range(5):
            yield 'type %d random' % t, bytes([t]) + rnd.randbytes(rnd.randrange(1, 1400))
    yield 'compound that promises much', b'\x07\xff' + b'\xff\xff' * 255
    yield 'compound in compound', b'\x07\x01\x00\x40' + (b'\x07\x01\x00\x3c' * 20)
    yield 'compressed, no data', b'\x09' + mp_map(Algo=0, Buf=mp_str(b''))
    yield 'compressed garbage', b'\x09' + mp_map(Algo=0, Buf=mp_str(rnd.randbytes(1000)))
    yield 'compressed, unknown algorithm', b'\x09' + mp_map(Algo=77, Buf=mp_str(b'x'))
    yield 'crc that is wrong', b'\x0c' + rnd.randbytes(4) + b'\x04abc'
    good = alive('ghost.nowhere', '127.0.0.9', 4648, b'')
    for n in range(1, len(good), 3):
        yield 'alive cut at %d' % n, good[:n]
    for i in range(100):
        e = bytearray(good)
        e[rnd.randrange(5, len(e))] ^= 1 << rnd.randrange(8)
        yield 'alive with a flipped bit %d' % i, bytes(e)
    yield 'a large datagram', rnd.randbytes(60000)


def stream_garbage(rnd):
    """(name, bytes) for the gossip port's stream."""
    for t in range(14):
        yield 'type %d alone' % t, bytes([t])
        yield 'type %d random' % t, bytes([t]) + rnd.randbytes(2000)
    yield 'push/pull of a million nodes', b'\x06' + mp_map(Nodes=1000000, UserStateLen=0, Join=b'\xc3')
    yield 'push/pull of much state', b'\x06' + mp_map(Nodes=0, UserStateLen=0x7fffffff, Join=b'\xc3') + b'x' * 1000
    yield 'encrypted of 4 GiB', b'\x0a\xff\xff\xff\xff' + rnd.randbytes(100)
    yield 'http', b'GET / HTTP/1.1\r\n\r\n'


def http_garbage(rnd):
    """(name, bytes) for the HTTP port."""
    yield 'nothing', b''
    yield 'zeros', bytes(4096)
    yield 'random', rnd.randbytes(4096)
    yield 'no version', b'GET /v1/jobs\r\n\r\n'
    yield 'unknown method', b'BREW /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n'
    yield 'half a request', b'GET /v1/jobs HT'
    yield 'half the headers', b'GET /v1/jobs HTTP/1.1\r\nHost: '
    yield 'long path', b'GET /' + b'a' * 100000 + b' HTTP/1.1\r\n\r\n'
    yield 'long header', b'GET /v1/jobs HTTP/1.1\r\nX: ' + b'a' * 200000 + b'\r\n\r\n'
    yield 'many headers', b'GET /v1/jobs HTTP/1.1\r\n' + b''.join(b'X%d: y\r\n' % i for i in range(5000)) + b'\r\n'
    yield 'negative length', b'PUT /v1/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n'
    yield 'length that is no number', b'PUT /v1/jobs HTTP/1.1\r\nContent-Length: many\r\n\r\n'
    yield 'huge length', b'PUT /v1/jobs HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}'
    yield 'length that lies', b'PUT /v1/jobs HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{}'
    yield 'bad chunk', b'PUT /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n'
    yield 'huge chunk', b'PUT /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}'
    for path in (b'/v1/job/%00', b'/v1/job/%zz', b'/v1/job/%', b'/v1/job/\xff\xfe', b'/v1/jobs?index=%00', b'/v1/jobs?prefix=%ff%fe',
                 b'/v1/jobs?index=99999999999999999999', b'/v1/jobs?index=-1', b'/v1/jobs?wait=-5s&index=1', b'/v1/job/..%2f..%2f',
                 b'/v1/jobs?region=%00', b'/v1/jobs?region=' + b'a' * 3000, b'/v1/jobs?&&&===&', b'/../../etc/passwd',
                 b'/ui/../../../../etc/passwd', b'/v1/job/' + b'x' * 8000):
        yield 'path %r' % path[:40], b'GET ' + path + b' HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'


def udp_send(addr, port, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        with contextlib.suppress(OSError):
            s.sendto(data, (addr, port))


def seed():
    """The seed of this run: FUZZ_SEED, or a fixed one."""
    return int(os.environ.get('FUZZ_SEED', '4711'))
