# SPDX-License-Identifier: MPL-2.0
"""Job files, one for each thing that they can say: cases of jobs/parse in api_cases.py."""


import os

import steppe

# Whose keys 1.1.0's parser of HCL 1 does not know.
ONLY_HCL2 = {'consul', 'cores', 'cores and cpu', 'artifacts', 'services of task', 'checks', 'checks of group', 'connect',
             'gateway terminating'}


def job(inner='', group='', task='', type_=None, name='a'):
    """A job whose three levels hold the texts given."""
    lines = ['job "%s" {' % name, '  datacenters = ["dc1"]']
    if type_:
        lines.append('  type = "%s"' % type_)
    return '\n'.join(lines + [inner, '  group "g" {', group, '    task "t" {', '      driver = "raw_exec"', task,
                              '    }', '  }', '}', ''])


def files():
    """name -> text"""
    out = {
        'minimal': job(), 'service': job(type_='service'), 'batch': job(type_='batch'), 'system': job(type_='system'),
        'job fields': job('region = "east"\nnamespace = "n"\nid = "b"\nname = "c"\npriority = 70\nall_at_once = true\n'
                          'consul_token = "ct"\nvault_token = "vt"\nmeta {\n a = "1"\n B = "two"\n }'),
        'empty strings': job('region = ""\nnamespace = ""\nname = ""\ntype = ""\nconsul_token = ""'),
        'no group': 'job "a" {\n  datacenters = ["dc1"]\n}\n',
        'task in job': 'job "a" {\n  task "t" {\n    driver = "exec"\n  }\n}\n',
        'periodic': job('periodic { cron = "*/5 * * * *" }', type_='batch'),
        'periodic all': job('periodic {\n cron = "@daily"\n prohibit_overlap = true\n time_zone = "Europe/Berlin"\n enabled = false\n}',
                            type_='batch'),
        'periodic nothing': job('periodic {}', type_='batch'),
        'parameterized': job('parameterized {}', type_='batch'),
        'parameterized all': job('parameterized {\n payload = "required"\n meta_required = ["a"]\n meta_optional = ["b", "c"]\n}',
                                 type_='batch'),
        'affinities': job('affinity {\n attribute = "${node.class}"\n value = "x"\n}', 'affinity {\n attribute = "${meta.a}"\n'
                          'operator = ">"\n value = "1"\n weight = -50\n}', 'affinity {\n attribute = "${attr.kernel.name}"\n'
                          'regexp = "l.*"\n weight = 20\n}'),
        'constraints': job('constraint { distinct_hosts = true }', 'constraint {\n attribute = "${meta.a}"\n set_contains = "b,c"\n}',
                           'constraint {\n attribute = "${attr.cpu.arch}"\n operator = "!="\n value = "arm"\n}'),
        'spreads': job('spread { attribute = "${node.datacenter}" }', 'spread {\n attribute = "${meta.r}"\n weight = 70\n'
                       'target "r1" { percent = 60 }\n target "r2" { percent = 40 }\n}'),
        'multiregion': job('multiregion {\n strategy {\n max_parallel = 1\n on_failure = "fail_all"\n }\n region "west" {\n count = 2\n'
                           'datacenters = ["w1"]\n meta { a = "b" }\n }\n region "east" {}\n}'),
        'multiregion bare': job('multiregion {\n region "west" {}\n}'),
        'scaling': job(group='scaling {\n min = 1\n max = 5\n policy { cooldown = "1m" }\n}'),
        'scaling only max': job(group='count = 3\nscaling {\n enabled = false\n max = 5\n}'),
        'scaling min': job(group='scaling {\n min = 2\n max = 5\n}'),
        'task scaling': job(task='scaling "cpu" {\n max = 500\n policy { a = 1 }\n}\nscaling "mem" {\n min = 10\n max = 64\n}'),
        'disk': job(group='ephemeral_disk {\n sticky = true\n migrate = true\n size = 500\n}'),
        'disk nothing': job(group='ephemeral_disk {}'),
        'group fields': job(group='count = 0\nshutdown_delay = "10s"\nstop_after_client_disconnect = "1h"\nmeta { a = "b" }'),
        'consul': job(group='consul { namespace = "team" }'),
        'networks': job(group='network {\n mode = "bridge"\n mbits = 10\n port "http" { static = 80 }\n port "a" {\n to = 8080\n'
                        'host_network = "public"\n }\n port "b" {}\n dns {\n servers = ["1.1.1.1"]\n searches = ["x"]\n options = ["o"]\n }\n}'),
        'network nothing': job(group='network {}'),
        'task network': job(task='resources {\n network {\n mbits = 5\n port "x" {}\n port "y" { static = 99 }\n }\n}'),
        'task network bare': job(task='resources {\n network {\n port "x" {}\n }\n}'),
        'resources': job(task='resources {\n cpu = 50\n memory = 64\n memory_max = 128\n disk = 5\n iops = 7\n}'),
        'cores': job(task='resources {\n cores = 2\n}'),
        'cores and cpu': job(task='resources {\n cores = 2\n cpu = 5\n}'),
        'devices': job(task='resources {\n device "nvidia/gpu" {\n count = 2\n constraint {\n attribute = "${device.attr.memory}"\n'
                       'operator = ">="\n value = "2 GiB"\n }\n affinity {\n attribute = "${device.model}"\n value = "x"\n }\n }\n device "d" {}\n}'),
        'task fields': job(task='user = "nobody"\nleader = true\nkill_timeout = "20s"\nkill_signal = "SIGINT"\nshutdown_delay = "3s"\n'
                           'kind = "x"\nmeta { a = "b" }\nenv {\n A = "b"\n C = 5\n D = 1.5\n }\nlogs {\n max_files = 3\n max_file_size = 15\n}'),
        'zero times': job(task='kill_timeout = "0s"\nshutdown_delay = "0s"'),
        'logs half': job(task='logs { max_files = 3 }'),
        'config': job(task='config {\n command = "/bin/true"\n args = ["a", "${NOMAD_PORT_x}"]\n n = 5\n f = 1.5\n b = true\n'
                      'o { k = "v" }\n e = []\n}'),
        'config nothing': job(task='config {}'),
        'lifecycle': job(task='lifecycle {\n hook = "prestart"\n sidecar = true\n}'),
        'lifecycle nothing': job(task='lifecycle {}'),
        'dispatch': job('parameterized {}', task='dispatch_payload { file = "in.txt" }', type_='batch'),
        'csi': job(task='csi_plugin {\n id = "p"\n type = "node"\n}'),
        'csi all': job(task='csi_plugin {\n id = "p"\n type = "node"\n mount_dir = "/x"\n}'),
        'volumes': job(group='volume "data" {\n type = "host"\n source = "d"\n read_only = true\n}\nvolume "csi" {\n type = "csi"\n source = "c"\n'
                       'access_mode = "single-node-writer"\n attachment_mode = "file-system"\n mount_options {\n fs_type = "ext4"\n'
                       'mount_flags = ["noatime"]\n }\n}\nvolume "odd" {\n type = "odd"\n source = "o"\n}',
                       task='volume_mount {\n volume = "data"\n destination = "/data"\n}\nvolume_mount {\n volume = "csi"\n'
                       'destination = "/c"\n read_only = true\n propagation_mode = "bidirectional"\n}'),
        'artifacts': job(task='artifact { source = "https://x/y.tgz" }\nartifact {\n source = "git::https://x/y"\n destination = "/"\n'
                         'mode = "dir"\n options { checksum = "md5:1" }\n headers { User = "x" }\n}\nartifact {\n source = "https://x/y/"\n'
                         'mode = "file"\n}\nartifact {\n source = "https://x/file"\n mode = "file"\n}\nartifact {}'),
        'templates': job(task='template {\n data = "x"\n destination = "local/a"\n}\ntemplate {\n source = "s"\n destination = "local/b"\n'
                         'change_mode = "signal"\n}\ntemplate {\n source = "s"\n destination = "local/c"\n change_mode = "signal"\n'
                         'change_signal = "sigusr1"\n splay = "1m"\n perms = "600"\n left_delimiter = "[["\n right_delimiter = "]]"\n'
                         'env = true\n vault_grace = "3s"\n}\ntemplate {\n change_mode = "noop"\n change_signal = "sighup"\n}'),
        'vault': job(task='vault { policies = ["p"] }'),
        'vault all': job(task='vault {\n policies = ["p", "q"]\n namespace = "ns"\n env = false\n change_mode = "signal"\n'
                         'change_signal = "sigusr1"\n}'),
        'vault of job': job('vault { policies = ["p"] }\nvault_token = "x"', 'vault { policies = ["g"] }'),
        'services of task': job(task='service {}\nservice {\n name = "${JOB}-${BASE}-x"\n tags = ["a"]\n canary_tags = ["b"]\n port = "http"\n'
                                'address_mode = "driver"\n enable_tag_override = true\n meta { m = "1" }\n canary_meta { c = "2" }\n'
                                'on_update = "ignore"\n task = "t"\n id = "i"\n}'),
        'services of group': job(group='service {}\nservice {\n name = "${TASKGROUP}"\n port = "5"\n task = "t"\n}'),
        'checks': job(task='service {\n check_restart {\n limit = 3\n grace = "90s"\n}\n check {\n type = "tcp"\n interval = "10s"\n timeout = "2s"\n }\n'
                      'check {\n name = "h"\n id = "i"\n type = "http"\n path = "/"\n method = "POST"\n body = "b"\n protocol = "https"\n port = "p"\n'
                      'tls_skip_verify = true\n interval = "10s"\n timeout = "2s"\n initial_status = "passing"\n address_mode = "host"\n'
                      'header { A = ["b", "c"] }\n success_before_passing = 3\n failures_before_critical = 4\n check_restart {\n limit = 1\n'
                      'ignore_warnings = true\n }\n }\n check {\n type = "script"\n command = "c"\n args = ["a"]\n interval = "1s"\n timeout = "1s"\n'
                      'on_update = "ignore"\n }\n check {\n type = "grpc"\n grpc_service = "g"\n grpc_use_tls = true\n interval = "1s"\n timeout = "1s"\n}\n}'),
        'checks of group': job(group='network { mode = "bridge" }\nservice {\n name = "s"\n on_update = "ignore_warnings"\n check {\n'
                               'type = "http"\n path = "/"\n expose = true\n task = "t"\n interval = "10s"\n timeout = "2s"\n'
                               'success_before_passing = 3\n failures_before_critical = 4\n }\n}'),
        'connect': job(group='network { mode = "bridge" }\nservice {\n name = "s"\n port = "9"\n connect {\n sidecar_service {\n tags = ["t"]\n'
                       'port = "p"\n proxy {\n local_service_address = "1.2.3.4"\n local_service_port = 5\n upstreams {\n destination_name = "d"\n'
                       'local_bind_port = 80\n datacenter = "x"\n }\n expose {\n path {\n path = "/p"\n protocol = "http"\n local_path_port = 1\n'
                       'listener_port = "l"\n }\n }\n config { a = "b" }\n }\n }\n sidecar_task {\n name = "n"\n driver = "docker"\n user = "u"\n'
                       'kill_timeout = "9s"\n shutdown_delay = "1s"\n kill_signal = "SIGINT"\n config { image = "i" }\n env { A = "b" }\n'
                       'meta { c = "d" }\n resources { cpu = 5 }\n logs { max_files = 1 }\n }\n }\n}'),
        'connect bare': job(group='network { mode = "bridge" }\nservice {\n name = "s"\n port = "9"\n connect {\n sidecar_service {}\n sidecar_task {}\n }\n}'),
        'connect native': job(group='service {\n name = "s"\n port = "9"\n task = "t"\n connect { native = true }\n}'),
        'gateway': job(group='network { mode = "bridge" }\nservice {\n name = "s"\n connect {\n gateway {\n proxy {\n connect_timeout = "3s"\n'
                       'envoy_gateway_bind_tagged_addresses = true\n envoy_gateway_bind_addresses "x" {\n address = "1.2.3.4"\n port = 5\n }\n'
                       'envoy_gateway_no_default_bind = true\n config { a = 1 }\n }\n ingress {\n tls { enabled = true }\n listener {\n port = 8\n'
                       'service {\n name = "q"\n hosts = ["h"]\n }\n }\n listener {\n port = 9\n protocol = "http"\n }\n }\n }\n }\n}'),
        'gateway terminating': job(group='network { mode = "bridge" }\nservice {\n name = "s"\n connect {\n gateway {\n terminating {\n service {\n'
                                   'name = "q"\n ca_file = "ca"\n cert_file = "c"\n key_file = "k"\n sni = "s"\n }\n }\n }\n }\n}'),
        'heredoc': job(task='template {\n data = <<EOF\nline 1\n  line "2" ${x}\nEOF\n destination = "local/a"\n}'),
        'two groups': 'job "a" {\n  group "g" {\n    task "t" {}\n    task "u" {}\n  }\n  group "h" {}\n}\n',
    }
    for name in ('1-minimal', '2-service', '3-everything'):
        with open(os.path.join(steppe.GOLDEN, 'jobs', name + '.nomad')) as f:
            out[name] = f.read()
    for type_ in ('service', 'batch', 'system'):
        out.update({
            'update ' + type_: job('update {\n max_parallel = 3\n canary = 1\n}', type_=type_),
            'update all ' + type_: job('update {\n stagger = "1s"\n max_parallel = 3\n health_check = "manual"\n min_healthy_time = "2s"\n'
                                       'healthy_deadline = "3s"\n progress_deadline = "4s"\n auto_revert = true\n auto_promote = true\n canary = 2\n}',
                                       type_=type_),
            'update twice ' + type_: job('update {\n max_parallel = 3\n auto_revert = true\n}', 'update { max_parallel = 2 }', type_=type_),
            'update none ' + type_: job('update {\n max_parallel = 0\n}', type_=type_),
            'update nothing ' + type_: job('update {}', 'update {}', type_=type_),
            'update group ' + type_: job(group='update {\n canary = 1\n}', type_=type_),
            'migrate ' + type_: job('migrate { max_parallel = 2 }', type_=type_),
            'migrate twice ' + type_: job('migrate {\n max_parallel = 2\n health_check = "task_states"\n}', 'migrate {\n min_healthy_time = "1s"\n'
                                          'healthy_deadline = "2s"\n}', type_=type_),
            'reschedule ' + type_: job('reschedule { attempts = 3 }', type_=type_),
            'reschedule twice ' + type_: job('reschedule {\n attempts = 3\n interval = "1h"\n unlimited = false\n}', 'reschedule {\n delay = "7s"\n'
                                             'delay_function = "fibonacci"\n max_delay = "1m"\n}', type_=type_),
            'reschedule group ' + type_: job(group='reschedule {}', type_=type_),
            'restart ' + type_: job(group='restart { attempts = 5 }', task='restart {\n mode = "delay"\n delay = "3s"\n}', type_=type_),
            'restart all ' + type_: job(group='restart {\n attempts = 5\n interval = "5m"\n delay = "1s"\n mode = "delay"\n}', type_=type_),
        })
    return out


RICH = {'service': job('''
  meta {
    a = "1"
    b = "2"
  }
  priority = 60
  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }
  affinity {
    attribute = "${node.class}"
    value     = "x"
    weight    = 20
  }
  spread {
    attribute = "${node.datacenter}"
    weight    = 50
    target "dc1" {
      percent = 100
    }
  }
  update {
    max_parallel = 2
    canary       = 1
  }
''', '''
    count = 3
    shutdown_delay = "5s"
    meta {
      g = "1"
    }
    constraint {
      distinct_hosts = true
    }
    ephemeral_disk {
      size = 500
    }
    scaling {
      min = 1
      max = 9
      policy {
        cooldown = "1m"
        check "c" {
          n = 5
        }
      }
    }
    migrate {
      max_parallel = 2
    }
    network {
      mode = "bridge"
      mbits = 10
      port "http" {
        static = 8080
      }
      port "a" {}
      port "b" {}
      dns {
        servers = ["1.1.1.1", "8.8.8.8"]
      }
    }
    volume "v" {
      type   = "host"
      source = "s"
    }
    volume "w" {
      type            = "csi"
      source          = "s"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
      mount_options {
        fs_type     = "ext4"
        mount_flags = ["noatime"]
      }
    }
    service {
      name = "web"
      port = "http"
      tags = ["t1", "t2"]
      canary_tags = ["c"]
      meta {
        m = "1"
      }
      check {
        name     = "alive"
        type     = "http"
        path     = "/"
        interval = "10s"
        timeout  = "2s"
        header {
          A = ["b", "c"]
        }
        check_restart {
          limit = 3
        }
      }
      check {
        name     = "tcp"
        type     = "tcp"
        interval = "10s"
        timeout  = "2s"
      }
    }
    service {
      name = "other"
      port = "a"
    }
''', '''
      user = "nobody"
      kill_timeout = "20s"
      config {
        command = "/bin/true"
        args    = ["a", "b"]
        n       = 1234567
        f       = 1.5
        yes     = true
        o {
          k = "v"
          l = ["x"]
        }
      }
      env {
        A = "1"
        B = "2"
      }
      meta {
        k = "v"
      }
      artifact {
        source = "https://x/y.tgz"
        options {
          checksum = "md5:d41d8cd98f00b204e9800998ecf8427e"
        }
      }
      artifact {
        source      = "https://x/z"
        destination = "local/z"
      }
      template {
        data        = "x"
        destination = "local/a"
      }
      template {
        data          = "y"
        destination   = "local/b"
        change_mode   = "signal"
        change_signal = "SIGHUP"
      }
      volume_mount {
        volume      = "v"
        destination = "/v"
      }
      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
      logs {
        max_files     = 3
        max_file_size = 5
      }
      service {
        name = "own"
        port = "a"
      }
      resources {
        cpu    = 50
        memory = 64
        device "nvidia/gpu" {
          count = 2
          constraint {
            attribute = "${device.attr.memory}"
            operator  = ">="
            value     = "2 GiB"
          }
        }
        device "amd/gpu" {}
      }
    }
    task "u" {
      driver = "exec"
''', type_='service', name='rich-service'), 'batch': job('''
  periodic {
    cron             = "*/5 * * * *"
    prohibit_overlap = true
  }
''', '''
    restart {
      attempts = 5
    }
    reschedule {
      attempts  = 2
      interval  = "1h"
      unlimited = false
    }
''', type_='batch', name='rich-batch'), 'call': job('''
  parameterized {
    payload       = "required"
    meta_required = ["a", "b"]
    meta_optional = ["c"]
  }
''', '', '''
      dispatch_payload {
        file = "in"
      }
''', type_='batch', name='rich-call')}


def leaves(v, skip, path=()):
    """Each value in it, objects and lists too, with its path; not what stands behind the keys `skip`."""
    if path:
        yield path, v
    for k, x in v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ():
        if k not in skip:
            yield from leaves(x, skip, path + (k,))


def changed(job, path, value):
    """A copy of the job with another value at that path."""
    if not path:
        return value
    out = list(job) if isinstance(job, list) else dict(job)
    there = out[path[0]] if isinstance(out, list) else out.get(path[0])
    out[path[0]] = changed(there, path[1:], value)
    return out


def without_nulls(v):
    if isinstance(v, dict):
        return {k: without_nulls(x) for k, x in v.items() if x is not None}
    return [without_nulls(x) for x in v] if isinstance(v, list) else v
