#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""protoc plug-in: writes NAME.json.c and NAME.json.h, the tables by which common/json reads and
writes the nanopb structs of NAME.pb.h as JSON. Annotations: json.proto."""

import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.compiler import plugin_pb2

F = descriptor_pb2.FieldDescriptorProto

ACRONYMS = {
    'id': 'ID', 'ids': 'IDs', 'mb': 'MB', 'iops': 'IOPS', 'ip': 'IP', 'dns': 'DNS', 'cidr': 'CIDR',
    'http': 'HTTP', 'rpc': 'RPC', 'grpc': 'GRPC', 'tls': 'TLS', 'tcp': 'TCP', 'csi': 'CSI',
    'ttl': 'TTL', 'url': 'URL', 'uuid': 'UUID', 'tg': 'TG', 'fs': 'FS', 'ca': 'CA', 'sni': 'SNI',
    'acl': 'ACL', 'rtt': 'RTT',
}
WHOLE_NAMES = {'cpu': 'CPU'}

KINDS = {
    F.TYPE_BOOL: ('BOOL', 8, 'bool'),
    F.TYPE_INT32: ('INT', 32, 'int'), F.TYPE_SINT32: ('INT', 32, 'int'),
    F.TYPE_INT64: ('INT', 64, 'int64'), F.TYPE_SINT64: ('INT', 64, 'int64'),
    F.TYPE_UINT32: ('UINT', 32, 'uint32'), F.TYPE_UINT64: ('UINT', 64, 'uint64'),
    F.TYPE_DOUBLE: ('DOUBLE', 64, 'float64'),
    F.TYPE_STRING: ('STRING', 0, 'string'), F.TYPE_BYTES: ('BYTES', 0, '[]uint8'),
    F.TYPE_MESSAGE: ('MESSAGE', 0, None),
}


def json_name(name):
    if name in WHOLE_NAMES:
        return WHOLE_NAMES[name]
    return ''.join(ACRONYMS.get(w, w[:1].upper() + w[1:]) for w in name.split('_'))


class Options:
    """Reads our extensions out of options that this process's descriptor.proto does not know."""

    def __init__(self, files):
        self.pool = descriptor_pool.DescriptorPool()
        for f in files:
            self.pool.Add(f)
        factory = message_factory.MessageFactory(self.pool)
        factory.GetMessages([f.name for f in files])

        def get(name):
            return factory.GetPrototype(self.pool.FindMessageTypeByName(name))
        self.known = any(f.name == 'json.proto' for f in files)
        self.field_class = self.known and get('google.protobuf.FieldOptions')
        self.message_class = self.known and get('google.protobuf.MessageOptions')

    def extension(self, cls, options, name):
        """None when the file does not import json.proto."""
        if not self.known:
            return None
        parsed = cls.FromString(options.SerializeToString())
        return parsed.Extensions[self.pool.FindExtensionByName(name)]

    def field(self, f):
        return self.extension(self.field_class, f.options, 'steppe.json')

    def message(self, m):
        return self.extension(self.message_class, m.options, 'steppe.json_msg')


def c_string(s):
    return '"' + s.replace('\\', '\\\\').replace('"', '\\"') + '"'


def key_of(name):
    """The quoted key with its colon, as a C initializer: text and length."""
    text = '"%s":' % name
    return '%s, %d' % (c_string(text), len(text))


def field_flags(f, o, repeated, is_map):
    flags = []
    if repeated:
        flags.append('JSON_F_MAP' if is_map else 'JSON_F_REPEATED')
    elif f.type == F.TYPE_MESSAGE or f.proto3_optional:
        flags.append('JSON_F_OPTIONAL')
    if o is not None:
        for name in ('empty', 'server_empty', 'omit_empty', 'omit_empty_api', 'api_only',
                     'server_only', 'nullable', 'secret'):
            if getattr(o, name):
                flags.append('JSON_F_' + name.upper())
    return ' | '.join(flags) or '0'


def field_row(msg_c, f, o, maps):
    kind, bits, go = KINDS[f.type]
    if o is not None:
        kind = 'RAW' if o.raw else 'DURATION' if o.duration else 'TIME' if o.time else kind
        if o.bits:
            go = ('int%d' if kind == 'INT' else 'uint%d') % o.bits
    limit = o.bits if o is not None and o.bits else bits
    repeated = f.label == F.LABEL_REPEATED
    is_map = f.type_name in maps
    sub = 'NULL'
    if f.type == F.TYPE_MESSAGE:
        sub_c = f.type_name[1:].replace('.', '_')
        sub, go = '&%s_json' % sub_c, sub_c.split('_')[-1]
    name = (o.name if o is not None else '') or json_name(f.name)
    server = (o.server_name if o is not None else '') or name
    if repeated:
        state = 'offsetof(%s, %s_count)' % (msg_c, f.name)
    elif f.type == F.TYPE_MESSAGE or (f.proto3_optional and kind not in ('STRING', 'BYTES', 'RAW')):
        state = 'offsetof(%s, has_%s)' % (msg_c, f.name)
    else:
        state = 'JSON_NO_STATE'
    return ('    {%s, %s, JSON_%s, %d, %d, %s,\n     offsetof(%s, %s), %s, %s, %s},\n' % (
        key_of(name), key_of(server), kind, bits, limit, field_flags(f, o, repeated, is_map),
        msg_c, f.name, state, sub, c_string(go)))


def message_c(prefix, m, options, maps, out, names):
    msg_c = prefix + '_' + m.name
    for n in m.nested_type:
        if n.options.map_entry:
            maps.add('.' + (prefix + '.' + m.name).replace('_', '.') + '.' + n.name)
        message_c(msg_c, n, options, maps, out, names)
    o = options.message(m)
    names.append(msg_c)
    rows = ''.join(field_row(msg_c, f, options.field(f), maps)
                   for f in sorted(m.field, key=lambda f: f.number))
    if rows:
        out.append('static const struct json_field %s_json_rows[] = {\n%s};\n' % (msg_c, rows))
    flags = [n for n, on in (('JSON_T_OMIT_EMPTY', o is not None and o.omit_empty),
                             ('JSON_T_INLINE', o is not None and o.inline)) if on]
    out.append('const struct json_type %s_json = {"%s", %s, %d, %s, sizeof(%s), &%s_msg};\n' % (
        msg_c, m.name, msg_c + '_json_rows' if rows else 'NULL', len(m.field),
        ' | '.join(flags) or '0', msg_c, msg_c))


def generate(f, options):
    base = f.name[:-len('.proto')]
    out, names, maps = [], [], set()
    for m in f.message_type:
        message_c(f.package, m, options, maps, out, names)
    note = '/* Generated from %s by json_names.py. */\n' % f.name
    header = note + '#pragma once\n\n#include "json/json_type.h"\n\n' + ''.join(
        'extern const struct json_type %s_json;\n' % n for n in names)
    includes = [base] + [d[:-len('.proto')] for d in f.dependency
                         if d != 'json.proto' and not d.startswith('google/')]
    source = note + '#include <stddef.h>\n\n' + ''.join(
        '#include "%s.pb.h"\n#include "%s.json.h"\n' % (i, i) for i in includes)
    source += '\n' + '\n'.join(out)
    return [(base + '.json.h', header), (base + '.json.c', source)]


def main():
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse()
    response.supported_features = plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    options = Options(request.proto_file)
    for f in request.proto_file:
        if f.name in request.file_to_generate:
            for name, content in generate(f, options):
                response.file.add(name=name, content=content)
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == '__main__':
    main()
