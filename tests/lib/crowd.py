# SPDX-License-Identifier: MPL-2.0
"""Just enough of memberlist to be a crowd: many members that live at one address."""

import contextlib
import socket
import struct
import threading

from rawwire import mp_map, mp_str, mp_uint, serf_meta

VSN = b'\xa6\x01\x05\x02\x02\x05\x04'
PING, ACK, PUSH_PULL, COMPOUND, COMPRESS, CRC = 0, 2, 6, 7, 9, 12


def mp_read(data, at=0):
    """One value of msgpack as gossip has it -> (value, where it ends)."""
    b = data[at]
    at += 1

    def number(fmt):
        return struct.unpack_from('>' + fmt, data, at)[0], at + struct.calcsize(fmt)
    if b < 0x80:
        return b, at
    if b >= 0xe0:
        return b - 256, at
    if b in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[b], at
    if b in (0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xcb):
        return number(dict(zip((0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xcb), 'BHIQbhiqd'))[b])
    if 0xa0 <= b < 0xc0:
        return data[at:at + (b & 31)], at + (b & 31)
    if b in (0xda, 0xdb):
        n, at = number('H' if b == 0xda else 'I')
        return data[at:at + n], at + n
    if b < 0x90:
        n = b & 15
    elif b < 0xa0:
        n = b & 15
    else:
        n, at = number('H' if b in (0xdc, 0xde) else 'I')
    if b < 0x90 or b in (0xde, 0xdf):
        out = {}
        for _ in range(n):
            k, at = mp_read(data, at)
            out[k.decode()], at = mp_read(data, at)
        return out, at
    out = []
    for _ in range(n):
        v, at = mp_read(data, at)
        out.append(v)
    return out, at


def lzw_decode(data):
    out, entries, last = bytearray(), {}, None
    bits = n_bits = at = 0
    width, hi = 9, 257
    while True:
        while n_bits < width:
            bits |= data[at] << n_bits
            at += 1
            n_bits += 8
        code = bits & (1 << width) - 1
        bits >>= width
        n_bits -= width
        if code == 257:
            return bytes(out)
        if code == 256:
            entries, last, width, hi = {}, None, 9, 257
            continue
        if code < 256:
            s = bytes([code])
        elif code == hi and last is not None:
            s = last + last[:1]
        else:
            s = entries[code]
        if last is not None:
            entries[hi] = last + s[:1]
        out += s
        last = s
        hi += 1
        if hi >= 1 << width:
            if width == 12:
                last, hi = None, hi - 1
            else:
                width += 1


def messages(packet):
    """(type, body) of each message in a plain packet."""
    if packet[0] == CRC:
        packet = packet[5:]
    if packet[0] == COMPRESS:
        packet = lzw_decode(mp_read(packet, 1)[0]['Buf'])
    if packet[0] != COMPOUND:
        yield packet[0], packet[1:]
        return
    n = packet[1]
    at = 2 + 2 * n
    for i in range(n):
        size = struct.unpack_from('>H', packet, 2 + 2 * i)[0]
        yield from messages(packet[at:at + size])
        at += size


class Crowd:
    """`count` members NAME-N.region at one address, who answer pings by UDP and do nothing else."""

    def __init__(self, addr, port, names, tags):
        self.addr, self.port, self.names, self.tags = addr, port, names, tags
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.udp.bind((addr, port))
        self.udp.settimeout(0.2)
        self.stopping = False
        self.pings = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        known = {n.encode() for n in self.names}
        while not self.stopping:
            try:
                packet, peer = self.udp.recvfrom(65536)
            except OSError:
                continue
            with contextlib.suppress(ValueError, IndexError, KeyError, struct.error):
                for kind, body in messages(packet):
                    if kind != PING:
                        continue
                    ping = mp_read(body)[0]
                    if ping['Node'] in known:
                        self.pings += 1
                        self.udp.sendto(bytes([ACK]) + mp_map(Payload=b'\xc0', SeqNo=ping['SeqNo']), peer)

    def state(self, join=True):
        """A push/pull that names all of them."""
        meta = mp_str(serf_meta(self.tags))
        nodes = b''.join(mp_map(Name=mp_str(n), Addr=mp_str(socket.inet_aton(self.addr)), Port=mp_uint(self.port),
                                Incarnation=1, Meta=meta, State=0, Vsn=VSN) for n in self.names)
        head = mp_map(Join=b'\xc3' if join else b'\xc2', Nodes=mp_uint(len(self.names)), UserStateLen=0)
        return bytes([PUSH_PULL]) + head + nodes

    def join(self, addr, port):
        """Tells one member of the pool; returns what it answered."""
        with socket.create_connection((addr, port), 20) as c:
            c.sendall(self.state())
            c.settimeout(20)
            out = b''
            while True:
                chunk = c.recv(65536)
                if not chunk:
                    return out
                out += chunk

    def close(self):
        self.stopping = True
        self.thread.join()
        self.udp.close()
