/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The mapping, block by block, and what is said about mistakes. In the tables ' stands for ". What
 * is expected is what Nomad 1.1.0 makes of the same file (without what it leaves null or zero),
 * except where a comment in the code under test says otherwise.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "hcl/hcl.h"

enum place { WHOLE, IN_JOB, IN_GROUP, IN_TASK };

static const struct {
    enum place place;
    const char *src, *json;
} blocks[] = {
    /* clang-format off */
    {IN_JOB,
     "region = 'east' namespace = 'n' datacenters = ['dc1', 'dc2'] type = 'batch' "
     "priority = 70 all_at_once = true vault_token = 'v' consul_token = 'c'",
     "{'AllAtOnce':true,'ConsulToken':'c','Datacenters':['dc1','dc2'],'Namespace':'n',"
     "'Priority':70,'Region':'east','Type':'batch','VaultToken':'v'}"},
    {IN_JOB,
     "datacenters = 'dc1' priority = '7' all_at_once = 'false'",
     "{'AllAtOnce':false,'Datacenters':['dc1'],'Priority':7}"},
    {IN_JOB,
     "meta { a = 1 b = true c = 1.50 d = 'x' e = 1e21 f = 0.000001 } meta = { a = '2' g = "
     "-0.5 }",
     "{'Meta':{'a':'2','b':'1','c':'1.5','d':'x','e':'1000000000000000000000',"
     "'f':'0.000001','g':'-0.5'}}"},
    {IN_JOB,
     "constraint { attribute = '${attr.kernel.name}' value = 'linux' } constraint { "
     "attribute = 'a' operator = '!=' value = 3 } constraint { attribute = 'v' version = "
     "'> 1' } constraint { attribute = 's' semver = '> 1' } constraint { attribute = 'r' "
     "regexp = '^x' } constraint { attribute = 'c' set_contains = 'a,b' } constraint { "
     "distinct_hosts = true } constraint { distinct_hosts = '0' } constraint { "
     "distinct_property = '${meta.rack}' value = '2' } constraint { operator = '' }",
     "{'Constraints':[{'LTarget':'${attr.kernel.name}','Operand':'=','RTarget':'linux'},"
     "{'LTarget':'a','Operand':'!=','RTarget':'3'},{'LTarget':'v','Operand':'version',"
     "'RTarget':'> 1'},{'LTarget':'s','Operand':'semver','RTarget':'> 1'},{'LTarget':'r',"
     "'Operand':'regexp','RTarget':'^x'},{'LTarget':'c','Operand':'set_contains',"
     "'RTarget':'a,b'},{'Operand':'distinct_hosts'},{'LTarget':'${meta.rack}',"
     "'Operand':'distinct_property','RTarget':'2'},{'Operand':'='}]}"},
    {IN_JOB,
     "affinity { attribute = 'a' value = 'b' weight = -20 } affinity { attribute = 'c' "
     "set_contains_any = 'x' } affinity { set_contains_all = 'x' } affinity { "
     "set_contains = 'y' operator = 'z' } affinity { attribute = 'v' version = '1' }",
     "{'Affinities':[{'LTarget':'a','Operand':'=','RTarget':'b','Weight':-20},"
     "{'LTarget':'c','Operand':'set_contains_any','RTarget':'x'},"
     "{'Operand':'set_contains_all','RTarget':'x'},{'Operand':'set_contains',"
     "'RTarget':'y'},{'LTarget':'v','Operand':'version','RTarget':'1'}]}"},
    {IN_JOB,
     "spread { attribute = '${node.datacenter}' weight = 100 target 'dc1' { percent = 70 "
     "} target 'dc2' { percent = '30' } } spread { attribute = 'x' }",
     "{'Spreads':[{'Attribute':'${node.datacenter}','SpreadTarget':[{'Percent':70,"
     "'Value':'dc1'},{'Percent':30,'Value':'dc2'}],'Weight':100},{'Attribute':'x'}]}"},
    {IN_JOB,
     "update { stagger = '15s' max_parallel = 2 health_check = 'checks' min_healthy_time "
     "= '5s' healthy_deadline = '2m' progress_deadline = 0 auto_revert = true "
     "auto_promote = false canary = 1 }",
     "{'Update':{'AutoPromote':false,'AutoRevert':true,'Canary':1,'HealthCheck':'checks',"
     "'HealthyDeadline':120000000000,'MaxParallel':2,'MinHealthyTime':5000000000,"
     "'ProgressDeadline':0,'Stagger':15000000000}}"},
    {IN_JOB,
     "migrate { max_parallel = 1 health_check = 'task_states' min_healthy_time = '1.5s' "
     "healthy_deadline = '1h2m' }",
     "{'Migrate':{'HealthCheck':'task_states','HealthyDeadline':3720000000000,"
     "'MaxParallel':1,'MinHealthyTime':1500000000}}"},
    {IN_JOB,
     "reschedule { attempts = 3 interval = '1h' unlimited = false delay = '5s' max_delay "
     "= '1m' delay_function = 'constant' }",
     "{'Reschedule':{'Attempts':3,'Delay':5000000000,'DelayFunction':'constant',"
     "'Interval':3600000000000,'MaxDelay':60000000000,'Unlimited':false}}"},
    {IN_JOB,
     "periodic { cron = '*/5 * * * *' prohibit_overlap = true time_zone = 'Europe/Berlin' "
     "enabled = 'true' }",
     "{'Periodic':{'Enabled':true,'ProhibitOverlap':true,'Spec':'*/5 * * * *',"
     "'SpecType':'cron','TimeZone':'Europe/Berlin'}}"},
    {IN_JOB,
     "periodic { enabled = false }",
     "{'Periodic':{'Enabled':false}}"},
    {IN_JOB,
     "parameterized { payload = 'required' meta_required = ['a'] meta_optional = 'b' }",
     "{'ParameterizedJob':{'MetaOptional':['b'],'MetaRequired':['a'],"
     "'Payload':'required'}}"},
    {IN_JOB,
     "multiregion { strategy { max_parallel = 1 on_failure = 'fail_all' } region 'west' { "
     "count = 2 datacenters = ['w1'] meta { a = 1 } } region 'east' {} }",
     "{'Multiregion':{'Regions':[{'Count':2,'Datacenters':['w1'],'Meta':{'a':'1'},"
     "'Name':'west'},{'Name':'east'}],'Strategy':{'MaxParallel':1,"
     "'OnFailure':'fail_all'}}}"},
    {WHOLE,
     "job 'a' { id = 'i' name = 'n' }",
     "{'ID':'i','Name':'n'}"},
    {WHOLE,
     "job 'a' { task 't' { driver = 'exec' } task 'u' {} group 'g' { task 'v' { vault { "
     "env = false } } } vault { policies = ['p'] namespace = 'n' change_mode = 'signal' "
     "change_signal = 'SIGUSR1' } }",
     "{'ID':'a','Name':'a','TaskGroups':[{'Name':'t','Tasks':[{'Driver':'exec','Name':'t',"
     "'Vault':{'ChangeMode':'signal','ChangeSignal':'SIGUSR1','Env':true,'Namespace':'n',"
     "'Policies':['p']}}]},{'Name':'u','Tasks':[{'Name':'u',"
     "'Vault':{'ChangeMode':'signal','ChangeSignal':'SIGUSR1','Env':true,'Namespace':'n',"
     "'Policies':['p']}}]},{'Name':'g','Tasks':[{'Name':'v',"
     "'Vault':{'ChangeMode':'restart','Env':false}}]}]}"},
    {WHOLE,
     "job 'a' { group 'g' { task 't' {} vault { policies = 'q' } task 'u' { vault { "
     "change_mode = 'noop' } } } }",
     "{'ID':'a','Name':'a','TaskGroups':[{'Name':'g','Tasks':[{'Name':'t',"
     "'Vault':{'ChangeMode':'restart','Env':true,'Policies':['q']}},{'Name':'u',"
     "'Vault':{'ChangeMode':'noop','Env':true}}]}]}"},
    {IN_GROUP,
     "count = 3 shutdown_delay = '3s' stop_after_client_disconnect = '1m'",
     "{'Count':3,'ShutdownDelay':3000000000,'StopAfterClientDisconnect':60000000000}"},
    {IN_GROUP,
     "constraint { attribute = 'a' } affinity { attribute = 'b' weight = 1 } spread { "
     "attribute = 'c' } meta { zone = 'z1' }",
     "{'Affinities':[{'LTarget':'b','Operand':'=','Weight':1}],"
     "'Constraints':[{'LTarget':'a','Operand':'='}],'Meta':{'zone':'z1'},"
     "'Spreads':[{'Attribute':'c'}]}"},
    {IN_GROUP,
     "restart { attempts = 4 interval = '10m' delay = '20s' mode = 'delay' } reschedule { "
     "delay = 5 } ephemeral_disk { sticky = true migrate = true size = 150 } update { "
     "canary = 1 } migrate { max_parallel = 2 }",
     "{'EphemeralDisk':{'Migrate':true,'SizeMB':150,'Sticky':true},"
     "'Migrate':{'MaxParallel':2},'ReschedulePolicy':{'Delay':5},"
     "'RestartPolicy':{'Attempts':4,'Delay':20000000000,'Interval':600000000000,"
     "'Mode':'delay'},'Update':{'Canary':1}}"},
    {IN_GROUP,
     "network { mode = 'bridge' mbits = 5 dns { servers = ['1.1.1.1'] searches = ['x'] "
     "options = ['ndots:2'] } port 'http' {} port 'admin' { static = 24900 } port 'db' { "
     "to = 5432 host_network = 'public' } port 'z' { static = 0 } }",
     "{'Networks':[{'DNS':{'Options':['ndots:2'],'Searches':['x'],'Servers':['1.1.1.1']},"
     "'DynamicPorts':[{'Label':'http'},{'HostNetwork':'public','Label':'db','To':5432},"
     "{'Label':'z','Value':0}],'MBits':5,'Mode':'bridge',"
     "'ReservedPorts':[{'Label':'admin','Value':24900}]}]}"},
    {IN_GROUP,
     "service { name = 's' tags = ['a'] canary_tags = 'c' enable_tag_override = true port "
     "= 'http' address_mode = 'host' task = 't' meta { k = 1 } canary_meta { k = 'v' } "
     "check_restart { limit = 3 grace = '90s' ignore_warnings = true } } service { port = "
     "80 }",
     "{'Services':[{'AddressMode':'host','CanaryMeta':{'k':'v'},'CanaryTags':['c'],"
     "'CheckRestart':{'Grace':90000000000,'IgnoreWarnings':true,'Limit':3},"
     "'EnableTagOverride':true,'Meta':{'k':'1'},'Name':'s','PortLabel':'http',"
     "'Tags':['a'],'TaskName':'t'},{'PortLabel':'80'}]}"},
    {IN_GROUP,
     "service { check { name = 'c' type = 'http' interval = '10s' timeout = '2s' path = "
     "'/' protocol = 'https' port = 'p' expose = true command = '/x' args = ['-v'] "
     "initial_status = 'passing' tls_skip_verify = true method = 'POST' address_mode = "
     "'driver' grpc_service = 'g' grpc_use_tls = true task = 't' success_before_passing = "
     "1 failures_before_critical = 2 header { A = ['x', 'y'] } header { B = ['z'] } "
     "check_restart { limit = 1 } } check { type = 'tcp' } }",
     "{'Services':[{'Checks':[{'AddressMode':'driver','Args':['-v'],"
     "'CheckRestart':{'Limit':1},'Command':'/x','Expose':true,'FailuresBeforeCritical':2,"
     "'GRPCService':'g','GRPCUseTLS':true,'Header':{'A':['x','y'],'B':['z']},"
     "'InitialStatus':'passing','Interval':10000000000,'Method':'POST','Name':'c',"
     "'Path':'/','PortLabel':'p','Protocol':'https','SuccessBeforePassing':1,"
     "'TLSSkipVerify':true,'TaskName':'t','Timeout':2000000000,'Type':'http'},"
     "{'Type':'tcp'}]}]}"},
    {IN_GROUP,
     "service { connect { native = true } }",
     "{'Services':[{'Connect':{'Native':true}}]}"},
    {IN_GROUP,
     "service { connect { sidecar_service { port = 'p' tags = ['t'] "
     "disable_default_tcp_check = true proxy { local_service_address = '127.0.0.1' "
     "local_service_port = 80 upstreams { destination_name = 'd' local_bind_port = 8080 } "
     "upstreams { destination_name = 'e' } expose { path { path = '/m' protocol = 'http' "
     "local_path_port = 9 listener_port = 'x' } } config { a = 1 b { c = 'd' } } } } "
     "sidecar_task { name = 'n' driver = 'docker' user = 'u' kill_timeout = '5s' "
     "shutdown_delay = '1s' kill_signal = 'SIGINT' config { image = 'i' } env { A = 1 } "
     "meta { m = 'n' } resources { cpu = 5 } logs { max_files = 1 } } } }",
     "{'Services':[{'Connect':{'SidecarService':{'DisableDefaultTCPCheck':true,'Port':'p',"
     "'Proxy':{'Config':{'a':1,'b':{'c':'d'}},'ExposeConfig':{'Path':[{'ListenerPort':'x',"
     "'LocalPathPort':9,'Path':'/m','Protocol':'http'}]},"
     "'LocalServiceAddress':'127.0.0.1','LocalServicePort':80,"
     "'Upstreams':[{'DestinationName':'d','LocalBindPort':8080},{'DestinationName':'e'}]},"
     "'Tags':['t']},'SidecarTask':{'Config':{'image':'i'},'Driver':'docker',"
     "'Env':{'A':'1'},'KillSignal':'SIGINT','KillTimeout':5000000000,"
     "'LogConfig':{'MaxFiles':1},'Meta':{'m':'n'},'Name':'n','Resources':{'CPU':5},"
     "'ShutdownDelay':1000000000,'User':'u'}}}]}"},
    {IN_GROUP,
     "service { connect { gateway { proxy { connect_timeout = '3s' "
     "envoy_gateway_bind_tagged_addresses = true envoy_gateway_bind_addresses 'a' { "
     "address = '10.0.0.1' port = 80 } envoy_gateway_no_default_bind = true "
     "envoy_dns_discovery_type = 'LOGICAL_DNS' config { x = 2 } } ingress { tls { enabled "
     "= true } listener { port = 8080 protocol = 'http' service { name = 's' hosts = "
     "['h'] } } } } } }",
     "{'Services':[{'Connect':{'Gateway':{'Ingress':{'Listeners':[{'Port':8080,"
     "'Protocol':'http','Services':[{'Hosts':['h'],'Name':'s'}]}],'TLS':{'Enabled':true}},"
     "'Proxy':{'Config':{'x':2},'ConnectTimeout':3000000000,"
     "'EnvoyDNSDiscoveryType':'LOGICAL_DNS','EnvoyGatewayBindAddresses':{'a':{'Address':'1"
     "0.0.0.1','Name':'a','Port':80}},'EnvoyGatewayBindTaggedAddresses':true,"
     "'EnvoyGatewayNoDefaultBind':true}}}}]}"},
    {IN_GROUP,
     "volume 'data' { type = 'csi' source = 'shared' read_only = true access_mode = "
     "'single-node-writer' attachment_mode = 'file-system' per_alloc = true mount_options "
     "{ fs_type = 'ext4' mount_flags = ['ro'] } } volume 'x' { type = 'host' }",
     "{'Volumes':{'data':{'AccessMode':'single-node-writer',"
     "'AttachmentMode':'file-system','MountOptions':{'FSType':'ext4','MountFlags':['ro']},"
     "'Name':'data','PerAlloc':true,'ReadOnly':true,'Source':'shared','Type':'csi'},"
     "'x':{'Name':'x','Type':'host'}}}"},
    {IN_GROUP,
     "scaling { enabled = true min = 1 max = 5 policy { cooldown = '1m' check 'c' { "
     "source = 'p' } } }",
     "{'Scaling':{'Enabled':true,'Max':5,'Min':1,"
     "'Policy':{'check':[{'c':[{'source':'p'}]}],'cooldown':'1m'},'Type':'horizontal'}}"},
    {IN_GROUP,
     "scaling { max = 1 type = 'horizontal' }",
     "{'Scaling':{'Max':1,'Type':'horizontal'}}"},
    {IN_TASK,
     "driver = 'exec' user = 'u' kill_timeout = '20s' kill_signal = 'SIGINT' "
     "shutdown_delay = '1s' leader = true kind = 'k'",
     "{'Driver':'exec','KillSignal':'SIGINT','KillTimeout':20000000000,'Kind':'k',"
     "'Leader':true,'ShutdownDelay':1000000000,'User':'u'}"},
    {IN_TASK,
     "config { command = '/bin/sh' args = ['-c', 'x ${NOMAD_PORT_http}'] n = 5 f = 1.5 b "
     "= true labels { a = '1' b = 2 } labels { c = '3' } mounts = [{ type = 'bind' o { p "
     "= 1 } }] list = [1, 'a', [2]] h = { i = 'j' } e = [] } config { n = 6 }",
     "{'Config':{'args':['-c','x ${NOMAD_PORT_http}'],'b':true,'command':'/bin/sh','e':[],"
     "'f':1.5,'h':[{'i':'j'}],'labels':[{'a':'1','b':2},{'c':'3'}],'list':[1,'a',[2]],"
     "'mounts':[{'o':[{'p':1}],'type':'bind'}],'n':6}}"},
    {IN_TASK,
     "config {}",
     "{'Config':{}}"},
    {IN_TASK,
     "env { MODE = 'prod' WORKERS = 4 DEBUG = true OFF = false F = 0.1 } env = { MODE = "
     "'dev' } meta { a = 'b' }",
     "{'Env':{'DEBUG':'1','F':'0.1','MODE':'dev','OFF':'0','WORKERS':'4'},"
     "'Meta':{'a':'b'}}"},
    {IN_TASK,
     "resources { cpu = 200 memory = 128 memory_max = '256' disk = 10 iops = 1 network { "
     "mbits = 10 port 'rpc' {} port 'ssh' { static = 22 } } device 'nvidia/gpu' { count = "
     "2 constraint { attribute = 'm' operator = '>=' value = '2 GiB' } affinity { "
     "attribute = 'x' weight = 50 } } device 'intel/fpga' {} }",
     "{'Resources':{'CPU':200,'Devices':[{'Affinities':[{'LTarget':'x','Operand':'=',"
     "'Weight':50}],'Constraints':[{'LTarget':'m','Operand':'>=','RTarget':'2 GiB'}],"
     "'Count':2,'Name':'nvidia/gpu'},{'Name':'intel/fpga'}],'DiskMB':10,'IOPS':1,"
     "'MemoryMB':128,'MemoryMaxMB':256,'Networks':[{'DynamicPorts':[{'Label':'rpc'}],"
     "'MBits':10,'ReservedPorts':[{'Label':'ssh','Value':22}]}]}}"},
    {IN_TASK,
     "resources {} logs { max_files = 3 max_file_size = 5 } restart { mode = 'fail' } "
     "dispatch_payload { file = 'f' } lifecycle { hook = 'prestart' sidecar = true } "
     "csi_plugin { id = 'i' type = 'node' mount_dir = '/csi' }",
     "{'CSIPluginConfig':{'ID':'i','MountDir':'/csi','Type':'node'},"
     "'DispatchPayload':{'File':'f'},'Lifecycle':{'Hook':'prestart','Sidecar':true},"
     "'LogConfig':{'MaxFileSizeMB':5,'MaxFiles':3},'Resources':{},"
     "'RestartPolicy':{'Mode':'fail'}}"},
    {IN_TASK,
     "artifact { source = 'https://x/y.tgz' destination = 'local/' mode = 'file' options "
     "{ checksum = 'md5:1' depth = 1 } } artifact { source = 'z' }",
     "{'Artifacts':[{'GetterMode':'file','GetterOptions':{'checksum':'md5:1','depth':'1'},"
     "'GetterSource':'https://x/y.tgz','RelativeDest':'local/'},{'GetterSource':'z'}]}"},
    {IN_TASK,
     "template { data = <<EOH\nport={{ env 'X' }}\nEOH\n destination = 'd' change_mode = "
     "'signal' change_signal = 'SIGHUP' splay = '1s' perms = '600' left_delimiter = '<<' "
     "right_delimiter = '>>' env = true vault_grace = '1m' } template { source = 's' }",
     "{'Templates':[{'ChangeMode':'signal','ChangeSignal':'SIGHUP','DestPath':'d',"
     "'EmbeddedTmpl':'port={{ env \\'X\\' }}\\n','Envvars':true,'LeftDelim':'<<',"
     "'Perms':'600','RightDelim':'>>','Splay':1000000000,'VaultGrace':60000000000},"
     "{'ChangeMode':'restart','Perms':'0644','SourcePath':'s','Splay':5000000000}]}"},
    {IN_TASK,
     "constraint { attribute = 'a' } affinity { attribute = 'b' } volume_mount { volume = "
     "'v' destination = '/d' read_only = true propagation_mode = 'host-to-task' } "
     "volume_mount { volume = 'w' }",
     "{'Affinities':[{'LTarget':'b','Operand':'='}],'Constraints':[{'LTarget':'a',"
     "'Operand':'='}],'VolumeMounts':[{'Destination':'/d',"
     "'PropagationMode':'host-to-task','ReadOnly':true,'Volume':'v'},{'Volume':'w'}]}"},
    {IN_TASK,
     "vault { policies = ['p'] env = false } service { name = 's' port = 'p' }",
     "{'Services':[{'Name':'s','PortLabel':'p'}],'Vault':{'ChangeMode':'restart',"
     "'Env':false,'Policies':['p']}}"},
    {IN_TASK,
     "scaling 'cpu' { min = 50 max = 100 enabled = false policy { a = 'b' } } scaling "
     "'MEM' { max = 1 }",
     "{'ScalingPolicies':[{'Enabled':false,'Max':100,'Min':50,'Policy':{'a':'b'},"
     "'Type':'vertical_cpu'},{'Max':1,'Type':'vertical_mem'}]}"},
    {IN_TASK,
     "resources { cores = 2 }",
     "{'Resources':{'Cores':2}}"},
    {IN_TASK,
     "artifact { source = 's' headers { X = 'y' } }",
     "{'Artifacts':[{'GetterHeaders':{'X':'y'},'GetterSource':'s'}]}"},
    {IN_GROUP,
     "service { on_update = 'ignore' check { on_update = 'require_healthy' body = 'b' } "
     "connect { sidecar_service { proxy { upstreams { datacenter = 'd' local_bind_address "
     "= '127.0.0.1' } } } } }",
     "{'Services':[{'Checks':[{'Body':'b','OnUpdate':'require_healthy'}],"
     "'Connect':{'SidecarService':{'Proxy':{'Upstreams':[{'Datacenter':'d',"
     "'LocalBindAddress':'127.0.0.1'}]}}},'OnUpdate':'ignore'}]}"},
    {IN_GROUP,
     "consul { namespace = 'n' }",
     "{'Consul':{'Namespace':'n'}}"},
    {IN_GROUP,
     "service { connect { gateway { proxy {} terminating { service { name = 's' ca_file = "
     "'a' cert_file = 'b' key_file = 'c' sni = 'd' } } } } }",
     "{'Services':[{'Connect':{'Gateway':{'Proxy':{},"
     "'Terminating':{'Services':[{'CAFile':'a','CertFile':'b','KeyFile':'c','Name':'s',"
     "'SNI':'d'}]}}}}]}"},
    {WHOLE,
     "{'job':{'a':{'datacenters':['dc1'],'group':{'g':{'count':2,"
     "'task':{'t':{'driver':'exec','config':{'command':'x','n':1}}}}}}}}",
     "{'Datacenters':['dc1'],'ID':'a','Name':'a','TaskGroups':[{'Count':2,'Name':'g',"
     "'Tasks':[{'Config':{'command':'x','n':1},'Driver':'exec','Name':'t'}]}]}"},
    {WHOLE,
     "{'job':{'a':{'group':{'g':{'network':{'port':{'h':{},'i':{}}},"
     "'task':{'t':{'config':{'labels':{'a':'b'}}},'u':{'config':{'l':{'m':{'n':1}}}}}}}}}}",
     "{'ID':'a','Name':'a','TaskGroups':[{'Name':'g',"
     "'Networks':[{'DynamicPorts':[{'Label':'h'},{'Label':'i'}]}],"
     "'Tasks':[{'Config':{'labels':[{'a':'b'}]},'Name':'t'},"
     "{'Config':{'l':[{'m':[{'n':1}]}]},'Name':'u'}]}]}"},
    {WHOLE,
     "{'job':[{'a':{'type':'batch','group':[{'g':{'task':[{'t':{'driver':'x',"
     "'env':[{'A':true}]}}]}}]}}]}",
     "{'ID':'a','Name':'a','TaskGroups':[{'Name':'g','Tasks':[{'Driver':'x',"
     "'Env':{'A':'1'},'Name':'t'}]}],'Type':'batch'}"},
    /* clang-format on */
};

static const struct {
    enum place place;
    const char *src, *text;
    unsigned line, column;
} mistakes[] = {
    /* clang-format off */
    {WHOLE,
     "",
     "'job' stanza not found", 0, 0},
    {WHOLE,
     "foo = 1",
     "1 error occurred:\n\t* invalid key: foo\n\n", 1, 1},
    {WHOLE,
     "job = 'x'",
     "error parsing 'job': 'job' block missing name", 1, 1},
    {WHOLE,
     "job {}",
     "error parsing 'job': 'job' block missing name", 1, 1},
    {WHOLE,
     "job 'a' {} job 'b' {}",
     "error parsing 'job': only one 'job' block allowed", 1, 12},
    {WHOLE,
     "job 'a' { foo = 1\n bar = 2 }",
     "error parsing 'job': 2 errors occurred:\n\t* job: invalid key: foo\n\t* job: "
     "invalid key: bar\n\n", 1, 11},
    {WHOLE,
     "job 'a' {\n",
     "error parsing: At 2:2: object expected closing RBRACE got: EOF", 2, 2},
    {WHOLE,
     "variable 'x' {} job 'a' {}",
     "1 error occurred:\n\t* invalid key: variable (HCL2 expressions are not "
     "supported)\n\n", 1, 1},
    {IN_JOB,
     "priority = 'x' all_at_once = 'maybe'",
     "error parsing 'job': 2 error(s) decoding:\n\n* cannot parse 'Priority' as int: "
     "strconv.ParseInt: parsing \"x\": invalid syntax\n* cannot parse 'all_at_once' as "
     "bool: strconv.ParseBool: parsing \"maybe\": invalid syntax", 2, 12},
    {IN_JOB,
     "datacenters = [['a']]",
     "error parsing 'job': 1 error(s) decoding:\n\n* 'Datacenters[0]' expected type "
     "'string', got unconvertible type '[]interface {}'", 2, 16},
    {IN_JOB,
     "count = [1] type = { a = 1 }",
     "error parsing 'job': 1 error(s) decoding:\n\n* 'Type' expected type 'string', got "
     "unconvertible type '[]map[string]interface {}'", 2, 20},
    {IN_JOB,
     "priority = 99999999999999999999",
     "error parsing 'job': strconv.ParseInt: parsing \"99999999999999999999\": value out "
     "of range", 2, 12},
    {IN_JOB,
     "region = 'a'\n region = [1]",
     "error parsing 'job': At 3:11: root.region: unknown type for string *ast.ListType", 3, 11},
    {IN_JOB,
     "update 'x' {}",
     "error parsing 'job': 1 error occurred:\n\t* update -> invalid key: x\n\n", 2, 8},
    {IN_JOB,
     "update { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* update -> invalid key: foo\n\n", 2, 10},
    {IN_JOB,
     "update {}\n update {}",
     "error parsing 'job': update -> only one 'update' block allowed", 3, 2},
    {IN_JOB,
     "update { stagger = '10x' }",
     "error parsing 'job': update -> 1 error(s) decoding:\n\n* error decoding 'stagger': "
     "time: unknown unit \"x\" in duration \"10x\"", 2, 20},
    {IN_JOB,
     "update { stagger = '10' }",
     "error parsing 'job': update -> 1 error(s) decoding:\n\n* error decoding 'stagger': "
     "time: missing unit in duration \"10\"", 2, 20},
    {IN_JOB,
     "update { stagger = 'x' }",
     "error parsing 'job': update -> 1 error(s) decoding:\n\n* error decoding 'stagger': "
     "time: invalid duration \"x\"", 2, 20},
    {IN_JOB,
     "migrate = 5",
     "error parsing 'job': migrate -> cannot check HCL keys of type *ast.LiteralType", 2, 11},
    {IN_JOB,
     "constraint { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* constraint -> invalid key: foo\n\n", 2, 14},
    {IN_JOB,
     "constraint { distinct_hosts = 'perhaps' }",
     "error parsing 'job': constraint -> distinct_hosts should be set to true or false; "
     "strconv.ParseBool: parsing \"perhaps\": invalid syntax", 2, 31},
    {IN_JOB,
     "constraint { value = ['a'] }",
     "error parsing 'job': constraint -> 1 error(s) decoding:\n\n* 'RTarget' expected "
     "type 'string', got unconvertible type '[]interface {}'", 2, 22},
    {IN_JOB,
     "affinity { weight = 300 }",
     "error parsing 'job': affinity -> 1 error(s) decoding:\n\n* cannot parse 'Weight' as "
     "int: strconv.ParseInt: parsing \"300\": value out of range", 2, 21},
    {IN_JOB,
     "spread { target { percent = 1 } }",
     "error parsing 'job': spread -> target -> missing spread target", 2, 10},
    {IN_JOB,
     "spread { target 'a' { percent = -1 } }",
     "error parsing 'job': spread -> target -> 1 error(s) decoding:\n\n* cannot parse "
     "'Percent' as uint: strconv.ParseUint: parsing \"-1\": value out of range", 2, 33},
    {IN_JOB,
     "spread { target 'a' { pct = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* spread -> target -> 'a' -> invalid key: "
     "pct\n\n", 2, 23},
    {IN_JOB,
     "spread { target 'a' {}\n target 'a' {} }",
     "error parsing 'job': spread -> target -> target 'a' defined more than once", 3, 2},
    {IN_JOB,
     "periodic { enabled = 7 }",
     "error parsing 'job': periodic -> periodic.enabled should be set to true or false; 7 "
     "couldn't be converted to boolean value", 2, 22},
    {IN_JOB,
     "periodic {} periodic {}",
     "error parsing 'job': periodic -> only one 'periodic' block allowed per job", 2, 13},
    {IN_JOB,
     "parameterized {} parameterized {}",
     "error parsing 'job': parameterized -> only one 'parameterized' block allowed per job", 2, 18},
    {IN_JOB,
     "reschedule { attempts = 'q' }",
     "error parsing 'job': reschedule -> 1 error(s) decoding:\n\n* cannot parse "
     "'attempts' as int: strconv.ParseInt: parsing \"q\": invalid syntax", 2, 25},
    {IN_JOB,
     "multiregion { strategy {} }",
     "error parsing 'job': multiregion -> 'multiregion' requires one or more 'region' "
     "blocks", 2, 13},
    {IN_JOB,
     "multiregion { region 'a' {} region 'a' {} }",
     "error parsing 'job': multiregion -> regions -> region 'a' defined more than once", 2, 29},
    {IN_JOB,
     "multiregion { region 'a' { x = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* multiregion -> regions -> 'a' -> "
     "invalid key: x\n\n", 2, 28},
    {IN_JOB,
     "meta { a = [1] }",
     "error parsing 'job': 1 error(s) decoding:\n\n* '[a]' expected type 'string', got "
     "unconvertible type '[]interface {}'", 2, 12},
    {IN_JOB,
     "task 't' {} task 't' {}",
     "error parsing 'job': task: task 't' defined more than once", 2, 13},
    {IN_JOB,
     "group 'g' {}\n group 'g' {}",
     "error parsing 'job': group: group 'g' defined more than once", 3, 2},
    {IN_JOB,
     "group {}",
     "error parsing 'job': group: 'group' block missing name", 2, 1},
    {IN_JOB,
     "group = 5",
     "error parsing 'job': group: 'group' block missing name", 2, 1},
    {IN_JOB,
     "dynamic 'group' {}",
     "error parsing 'job': 1 error occurred:\n\t* job: invalid key: dynamic (HCL2 "
     "expressions are not supported)\n\n", 2, 1},
    {IN_GROUP,
     "bar = 1",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g' -> invalid key: bar\n\n", 2, 1},
    {IN_GROUP,
     "count = 'z'",
     "error parsing 'job': group: 1 error(s) decoding:\n\n* cannot parse 'Count' as int: "
     "strconv.ParseInt: parsing \"z\": invalid syntax", 2, 9},
    {IN_GROUP,
     "network {} network {}",
     "error parsing 'job': group: only one 'network' resource allowed", 2, 12},
    {IN_GROUP,
     "network { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: network -> invalid key: foo\n\n", 2, 11},
    {IN_GROUP,
     "network { port {} }",
     "error parsing 'job': group: network, ports -> ports must be named", 2, 11},
    {IN_GROUP,
     "network { port 'a-b' {} }",
     "error parsing 'job': group: network, ports -> Port label does not conform to naming "
     "requirements ^[a-zA-Z0-9_]+$", 2, 11},
    {IN_GROUP,
     "network { port 'a' {}\n port 'A' {} }",
     "error parsing 'job': group: network, ports -> found a port label collision: A", 3, 2},
    {IN_GROUP,
     "network { port 'a' { x = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* group: network, ports -> invalid key: "
     "x\n\n", 2, 22},
    {IN_GROUP,
     "network { dns {} dns {} }",
     "error parsing 'job': group: network -> cannot have more than 1 dns stanza", 2, 18},
    {IN_GROUP,
     "network { dns { y = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* group: network -> dns -> invalid key: "
     "y\n\n", 2, 17},
    {IN_GROUP,
     "scaling { min = 1 }",
     "error parsing 'job': group: scaling -> missing 'max'", 2, 1},
    {IN_GROUP,
     "scaling { max = 1 type = 'x' }",
     "error parsing 'job': group: scaling -> task group scaling policy had invalid type: "
     "\"x\"", 2, 1},
    {IN_GROUP,
     "scaling 'x' {}",
     "error parsing 'job': group: scaling -> task group scaling policy should not have a "
     "name", 2, 1},
    {IN_GROUP,
     "scaling {} scaling {}",
     "error parsing 'job': group: scaling -> only one 'scaling' block allowed", 2, 12},
    {IN_GROUP,
     "restart { mode = 5\n foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', restart -> invalid key: "
     "foo\n\n", 3, 2},
    {IN_GROUP,
     "ephemeral_disk { size = 'big' }",
     "error parsing 'job': group: 'g', ephemeral_disk -> 1 error(s) decoding:\n\n* cannot "
     "parse 'size' as int: strconv.ParseInt: parsing \"big\": invalid syntax", 2, 25},
    {IN_GROUP,
     "service { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', service (0): invalid key: "
     "foo\n\n", 2, 11},
    {IN_GROUP,
     "service { name = 's' check { foo = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', service (0): 's', check -> "
     "invalid key: foo\n\n", 2, 30},
    {IN_GROUP,
     "service { name = 's' check { interval = '1 h' } }",
     "error parsing 'job': group: 'g', service (0): 's', 1 error(s) decoding:\n\n* error "
     "decoding 'Interval': time: unknown unit \" h\" in duration \"1 h\"", 2, 41},
    {IN_GROUP,
     "service { check { header { A = 'x' } } }",
     "error parsing 'job': group: 'g', service (0): '', check -> header -> \"A\" expected "
     "a []string but found string", 2, 32},
    {IN_GROUP,
     "service { check { header = 'x' } }",
     "error parsing 'job': group: 'g', service (0): '', check -> header -> expected a "
     "[]map[string][]string but found string", 2, 28},
    {IN_GROUP,
     "service { check { header { A = [1] } } }",
     "error parsing 'job': group: 'g', service (0): '', check -> header -> \"A\" expected "
     "a string but found int", 2, 33},
    {IN_GROUP,
     "service { name = 's' check_restart {} check_restart {} }",
     "error parsing 'job': group: 'g', service (0): check_restart 's': cannot have more "
     "than 1 check_restart", 2, 39},
    {IN_GROUP,
     "service { connect {} connect {} }",
     "error parsing 'job': group: 'g', service (0): connect '': cannot have more than 1 "
     "connect stanza", 2, 22},
    {IN_GROUP,
     "service { connect { foo = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', service (0): '', connect -> "
     "invalid key: foo\n\n", 2, 21},
    {IN_GROUP,
     "service { connect { gateway {} } }",
     "error parsing 'job': group: 'g', service (0): '', gateway, must have one 'ingress' "
     "block", 2, 29},
    {IN_GROUP,
     "service { connect { gateway { proxy {} } } }",
     "error parsing 'job': group: 'g', service (0): '', gateway, must have one 'ingress' "
     "block", 2, 29},
    {IN_GROUP,
     "service { connect { sidecar_service { proxy { local_service_port = 'x' } } } }",
     "error parsing 'job': group: 'g', service (0): '', sidecar_service, proxy, proxy: 1 "
     "error(s) decoding:\n\n* 'local_service_port' expected type 'int', got unconvertible "
     "type 'string'", 2, 68},
    {IN_GROUP,
     "service { connect { sidecar_service { proxy { foo = 1 } } } }",
     "error parsing 'job': group: 'g', service (0): '', sidecar_service, proxy, 1 error "
     "occurred:\n\t* proxy -> invalid key: foo\n\n", 2, 47},
    {IN_GROUP,
     "service { connect { sidecar_task { foo = 1 } } }",
     "error parsing 'job': group: 'g', service (0): '', sidecar_task, 1 error "
     "occurred:\n\t* invalid key: foo\n\n", 2, 36},
    {IN_GROUP,
     "vault { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', vault -> vault -> invalid "
     "key: foo\n\n", 2, 9},
    {IN_GROUP,
     "volume 'a' { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: volume -> 'a' -> invalid key: "
     "foo\n\n", 2, 14},
    {IN_GROUP,
     "volume { type = 'x' }",
     "error parsing 'job': group: volume -> 'volume' block missing name", 2, 1},
    {IN_GROUP,
     "task 't' { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', invalid key: "
     "foo\n\n", 2, 12},
    {IN_TASK,
     "logs {} logs {}",
     "error parsing 'job': group: 'g', task: 't', only one logs block is allowed in a "
     "Task. Number of logs block found: 2", 2, 9},
    {IN_TASK,
     "logs { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', logs -> invalid "
     "key: foo\n\n", 2, 8},
    {IN_TASK,
     "resources {} resources {}",
     "error parsing 'job': group: 'g', task: 't', resources -> only one 'resource' block "
     "allowed per task", 2, 14},
    {IN_TASK,
     "resources { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', resources -> "
     "resources -> invalid key: foo\n\n", 2, 13},
    {IN_TASK,
     "resources { cpu = 'much' }",
     "error parsing 'job': group: 'g', task: 't', resources -> 1 error(s) decoding:\n\n* "
     "cannot parse 'CPU' as int: strconv.ParseInt: parsing \"much\": invalid syntax", 2, 19},
    {IN_TASK,
     "resources { network { foo = 1 } }",
     "error parsing 'job': group: 'g', task: 't', resources -> resource, 1 error "
     "occurred:\n\t* network -> invalid key: foo\n\n", 2, 23},
    {IN_TASK,
     "resources { device {} }",
     "error parsing 'job': group: 'g', task: 't', resources -> resources, device[0]-> "
     "missing device name", 2, 13},
    {IN_TASK,
     "resources { device 'a' 'b' {} }",
     "error parsing 'job': group: 'g', task: 't', resources -> resources, device[0]-> "
     "only one name may be specified", 2, 13},
    {IN_TASK,
     "resources { device 'a' { foo = 1 } }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', resources -> "
     "resources, device[0]-> invalid key: foo\n\n", 2, 26},
    {IN_TASK,
     "artifact { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', artifact -> "
     "invalid key: foo\n\n", 2, 12},
    {IN_TASK,
     "artifact { options {} options {} }",
     "error parsing 'job': group: 'g', task: 't', artifact -> options:  only one "
     "'options' block allowed per artifact", 2, 23},
    {IN_TASK,
     "template { splay = '5' }",
     "error parsing 'job': group: 'g', task: 't', template -> 1 error(s) decoding:\n\n* "
     "error decoding 'splay': time: missing unit in duration \"5\"", 2, 20},
    {IN_TASK,
     "template { env = 'x' }",
     "error parsing 'job': group: 'g', task: 't', template -> 1 error(s) decoding:\n\n* "
     "cannot parse 'env' as bool: strconv.ParseBool: parsing \"x\": invalid syntax", 2, 18},
    {IN_TASK,
     "scaling {}",
     "error parsing 'job': group: 'g', task: 't', scaling -> task scaling policy missing "
     "name", 2, 1},
    {IN_TASK,
     "scaling 'disk' {}",
     "error parsing 'job': group: 'g', task: 't', scaling[disk] -> scaling policy name "
     "must be \"cpu\" or \"mem\"", 2, 1},
    {IN_TASK,
     "scaling 'cpu' {} scaling 'cpu' {}",
     "error parsing 'job': group: 'g', task: 't', scaling[cpu] -> scaling policy cannot "
     "be defined more than once", 2, 18},
    {IN_TASK,
     "scaling 'cpu' { type = 'x' }",
     "error parsing 'job': group: 'g', task: 't', scaling[cpu] -> policy had invalid "
     "'type': \"x\"", 2, 1},
    {IN_TASK,
     "volume_mount { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', volume_mount -> "
     "invalid key: foo\n\n", 2, 16},
    {IN_TASK,
     "csi_plugin {} csi_plugin {}",
     "error parsing 'job': group: 'g', task: 't', csi_plugin -> Expected single stanza, "
     "got 2", 2, 15},
    {IN_TASK,
     "lifecycle {} lifecycle {}",
     "error parsing 'job': group: 'g', task: 't', only one lifecycle block is allowed in "
     "a task. Number of lifecycle blocks found: 2", 2, 14},
    {IN_TASK,
     "dispatch_payload { foo = 1 }",
     "error parsing 'job': 1 error occurred:\n\t* group: 'g', task: 't', dispatch_payload "
     "-> invalid key: foo\n\n", 2, 20},
    {IN_TASK,
     "env { A = [1] B = { c = 1 } }",
     "error parsing 'job': group: 'g', task: 't', 2 error(s) decoding:\n\n* '[A]' "
     "expected type 'string', got unconvertible type '[]interface {}'\n* '[B]' expected "
     "type 'string', got unconvertible type '[]map[string]interface {}'", 2, 11},
    {IN_TASK,
     "config = 5",
     "error parsing 'job': group: 'g', task: 't', At 2:10: root: not an object type for "
     "map (*ast.LiteralType)", 2, 10},
    {IN_TASK,
     "kill_timeout = '1.5'",
     "error parsing 'job': group: 'g', task: 't', 1 error(s) decoding:\n\n* error "
     "decoding 'kill_timeout': time: missing unit in duration \"1.5\"", 2, 16},
    {IN_TASK,
     "leader = 'yes'",
     "error parsing 'job': group: 'g', task: 't', 1 error(s) decoding:\n\n* cannot parse "
     "'Leader' as bool: strconv.ParseBool: parsing \"yes\": invalid syntax", 2, 10},
    {IN_TASK,
     "vault {} vault {}",
     "error parsing 'job': group: 'g', task: 't', vault -> only one 'vault' block allowed "
     "per task", 2, 10},
    {IN_TASK,
     "user = ['a']",
     "error parsing 'job': group: 'g', task: 't', 1 error(s) decoding:\n\n* 'User' "
     "expected type 'string', got unconvertible type '[]interface {}'", 2, 8},
    {IN_TASK,
     "driver = 08",
     "error parsing: At 2:12: illegal octal number", 2, 12},
    /* clang-format on */
};

/* The file that a row stands for. The caller frees it. */
static char *document(enum place place, const char *src)
{
    static const char *const head[] = {
        [WHOLE] = "",
        [IN_JOB] = "job 'a' {\n",
        [IN_GROUP] = "job 'a' { group 'g' {\n",
        [IN_TASK] = "job 'a' { group 'g' { task 't' {\n",
    };
    static const char *const tail[] = {
        [WHOLE] = "",
        [IN_JOB] = "\n}",
        [IN_GROUP] = "\n} }",
        [IN_TASK] = "\n} } }",
    };
    struct strbuf b = STRBUF_INIT;

    strbuf_adds(&b, head[place]);
    strbuf_adds(&b, src);
    strbuf_adds(&b, tail[place]);
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] == '\'')
            b.data[i] = '"';
    return strbuf_take(&b);
}

/* The object that a row is about, without what the frame around it brings. */
static json_t *inner(json_t *job, enum place place)
{
    json_t *o = job;

    if (place == WHOLE)
        return o;
    if (place >= IN_GROUP)
        o = json_array_get(json_object_get(o, "TaskGroups"), 0);
    if (place == IN_TASK)
        o = json_array_get(json_object_get(o, "Tasks"), 0);
    (void)json_object_del(o, "Name");
    (void)json_object_del(o, "ID");
    return o;
}

START_TEST(test_blocks)
{
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        char *src = document(blocks[i].place, blocks[i].src);
        char *want_text = document(WHOLE, blocks[i].json);
        json_t *want = json_loads(want_text, JSON_REJECT_DUPLICATES, NULL), *got;
        struct strbuf out = STRBUF_INIT;
        struct hcl_error err = {0};

        ck_assert_msg(hcl_job_to_json(src, strlen(src), HCL_1, &out, &err) == 0, "%s: %s", src,
                      err.text);
        got = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
        ck_assert_ptr_nonnull(got);
        ck_assert_ptr_nonnull(want);
        ck_assert_msg(json_equal(inner(got, blocks[i].place), want), "%s\ngives %s\nnot   %s", src,
                      out.data, want_text);
        json_decref(got);
        json_decref(want);
        strbuf_fini(&out);
        free(want_text);
        free(src);
    }
}
END_TEST

START_TEST(test_mistakes)
{
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        char *src = document(mistakes[i].place, mistakes[i].src);
        struct strbuf out = STRBUF_INIT;
        struct hcl_error err = {0};

        ck_assert_msg(hcl_job_to_json(src, strlen(src), HCL_1, &out, &err) == -EINVAL, "%s", src);
        ck_assert_str_eq(err.text, mistakes[i].text);
        ck_assert_msg(err.line == mistakes[i].line && err.column == mistakes[i].column, "%s: %u:%u",
                      src, err.line, err.column);
        ck_assert_uint_eq(out.len, 0);
        strbuf_fini(&out);
        free(src);
    }
}
END_TEST

/* What literals mean in HCL 1 and in HCL 2, as a Nomad 1.1.0 has it; NULL: refused. */
static const struct {
    const char *value, *hcl1, *hcl2;
} literals[] = {
    {"true", "1", "true"},
    {"false", "0", "false"},
    {"010", "8", "10"},
    {"0", "0", "0"},
    {"1.5", "1.5", "1.5"},
    {"\"true\"", "true", "true"},
    {"\"$${x} %%{y} $$ %% $a 5%\"", "$${x} %%{y} $$ %% $a 5%", "${x} %{y} $$ %% $a 5%"},
    {"\"${env[\"X\"]}-$${b}\"", "${env[\"X\"]}-$${b}", "${env[\"X\"]}-${b}"},
    {"<<E\n$${x}\nE\n", "$${x}\n", "${x}\n"},
    {"\"%{ if true }x%{ endif }\"", "%{ if true }x%{ endif }", NULL},
};

START_TEST(test_literals)
{
    for (size_t i = 0; i < ARRAY_LEN(literals); i++)
        for (int v = HCL_1; v <= HCL_2; v++) {
            _cleanup_(freep) char *src =
                xasprintf("job \"a\" {\n meta {\n k = %s\n }\n}\n", literals[i].value);
            const char *want = v == HCL_1 ? literals[i].hcl1 : literals[i].hcl2;
            _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
            struct hcl_error err = {0};
            json_t *job;

            ck_assert_msg(hcl_job_to_json(src, strlen(src), v, &out, &err) == (want ? 0 : -EINVAL),
                          "%s: %s", src, err.text);
            if (!want) {
                ck_assert_uint_eq(err.line, 3);
                continue;
            }
            job = json_loads(out.data, 0, NULL);
            ck_assert_str_eq(json_string_value(json_object_get(json_object_get(job, "Meta"), "k")),
                             want);
            json_decref(job);
        }
}
END_TEST

/* Names and values that JSON must escape, and what is no character at all. */
START_TEST(test_escapes)
{
    static const char src[] =
        "job \"a\\\"b\\\\\" { meta { \"k\\t\" = \"\\x00\\x1f\\xff\\u00e9\" } }";
    struct strbuf out = STRBUF_INIT;
    struct hcl_error err = {0};

    ck_assert_int_eq(hcl_job_to_json(src, strlen(src), HCL_1, &out, &err), 0);
    ck_assert_str_eq(out.data,
                     "{\"ID\":\"a\\\"b\\\\\",\"Meta\":{\"k\\t\":\"\\u0000\\u001f\xef\xbf\xbd"
                     "\xc3\xa9\"},\"Name\":\"a\\\"b\\\\\"}");
    strbuf_fini(&out);
}
END_TEST

START_TEST(test_out_is_full)
{
    static const char src[] = "job \"a\" { region = \"0123456789\" }";
    struct strbuf out = STRBUF_BOUND(20);
    struct hcl_error err = {0};

    ck_assert_int_eq(hcl_job_to_json(src, strlen(src), HCL_1, &out, &err), -E2BIG);
    ck_assert_str_eq(err.text, "the job's JSON is too large");
    strbuf_fini(&out);
}
END_TEST

/* More mistakes than the text of an error holds. */
START_TEST(test_many_mistakes)
{
    struct strbuf b = STRBUF_INIT, out = STRBUF_INIT;
    struct hcl_error err = {0};

    strbuf_adds(&b, "job \"a\" {\n");
    for (int i = 0; i < 1000; i++)
        strbuf_addf(&b, "k%d = 1\n", i);
    strbuf_adds(&b, "}");
    ck_assert_int_eq(hcl_job_to_json(b.data, b.len, HCL_1, &out, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "1000 errors occurred:\n\t* job: invalid key: k0\n"));
    ck_assert_uint_eq(strlen(err.text), HCL_ERROR_MAX - 1);
    ck_assert_uint_eq(err.line, 2);
    strbuf_fini(&b);
    strbuf_fini(&out);
}
END_TEST

/* null, false, 0, "" and what is empty: the two sides differ in how they leave those out. */
static json_t *without_zeros(const json_t *v)
{
    json_t *out, *elem;
    const char *key;
    size_t i;

    if (json_is_array(v)) {
        out = json_array();
        json_array_foreach(v, i, elem)
        {
            json_t *kept = without_zeros(elem);

            (void)json_array_append_new(out, kept ? kept : json_null());
        }
        if (i == 0) {
            json_decref(out);
            return NULL;
        }
        return out;
    }
    if (json_is_object(v)) {
        out = json_object();
        json_object_foreach((json_t *)v, key, elem)
        {
            json_t *kept = without_zeros(elem);

            if (kept)
                (void)json_object_set_new(out, key, kept);
        }
        if (json_object_size(out) == 0) {
            json_decref(out);
            return NULL;
        }
        return out;
    }
    if (json_is_null(v) || json_is_false(v) || (json_is_string(v) && !*json_string_value(v)) ||
        (json_is_integer(v) && json_integer_value(v) == 0))
        return NULL;
    return json_deep_copy(v);
}

START_TEST(test_reference_files)
{
    static const char *const names[] = {"1-minimal", "2-service", "3-everything"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[512], src[16384];
        struct strbuf out = STRBUF_INIT;
        struct hcl_error err = {0};
        json_t *want, *got, *a, *b;
        size_t len;
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/jobs/%s.nomad", TEST_GOLDEN_DIR, names[i]);
        f = fopen(path, "rb");
        ck_assert_msg(f != NULL, "%s", path);
        len = fread(src, 1, sizeof(src), f);
        ck_assert_uint_lt(len, sizeof(src));
        (void)fclose(f);
        (void)snprintf(path, sizeof(path), "%s/jobs/%s.json", TEST_GOLDEN_DIR, names[i]);
        want = json_load_file(path, 0, NULL);
        ck_assert_msg(want != NULL, "%s", path);
        ck_assert_msg(hcl_job_to_json(src, len, HCL_1, &out, &err) == 0, "%s", err.text);
        got = json_loads(out.data, 0, NULL);
        a = without_zeros(json_object_get(want, "Job"));
        b = without_zeros(got);
        ck_assert_msg(json_equal(a, b), "%s: %s", names[i], out.data);
        json_decref(want);
        json_decref(got);
        json_decref(a);
        json_decref(b);
        strbuf_fini(&out);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, test_blocks);
    tcase_add_test(tc, test_mistakes);
    tcase_add_test(tc, test_escapes);
    tcase_add_test(tc, test_literals);
    tcase_add_test(tc, test_out_is_full);
    tcase_add_test(tc, test_many_mistakes);
    tcase_add_test(tc, test_reference_files);
    return check_run("hcl_job", tc, NULL);
}
