#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Two federated regions on this machine, from nothing: installs what is missing, builds Steppe,
# starts the regions west and east (a server and two clients each, on loopback addresses of their
# own) and plays the federation tutorial. The nodes stay up afterwards.
#
#   deploy/demo.sh           build, start, play
#   deploy/demo.sh --down    stop the nodes and remove their data
set -u
cd "$(dirname "$0")/.." || exit 1
. deploy/packages.sh

top=$PWD/build-demo
prefix=$top/prefix
demo=$top/demo
steppe=$prefix/bin/steppe
nodes="west-server west-client1 west-client2 east-server east-client1 east-client2"

bold="" plain=""
[ -t 1 ] && bold=$(printf '\033[1m') && plain=$(printf '\033[0m')
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
fail() { # text, log
    printf '\nerror: %s\n' "$1" >&2
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        tail -n 15 "$2" | sed 's/^/    /' >&2
        echo "read the whole log: $2" >&2
    fi
    exit 1
}

addr_of() {
    case $1 in
    west-server) echo 127.0.1.1 ;;
    west-client1) echo 127.0.1.11 ;;
    west-client2) echo 127.0.1.12 ;;
    east-server) echo 127.0.2.1 ;;
    east-client1) echo 127.0.2.11 ;;
    east-client2) echo 127.0.2.12 ;;
    esac
}

# The pid of a node that we started and that still runs; a pid that someone else got does not count.
pid_of() {
    local pid
    pid=$(cat "$demo/$1/pid" 2>/dev/null) || return 1
    tr "\0" " " 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$demo/$1/node.hcl" || return 1
    echo "$pid"
}

# The holders of tasks that ran on our clients: tasks outlive the agents that started them.
tasks() {
    local f argv
    for f in /proc/[0-9]*/cmdline; do
        { mapfile -d '' argv <"$f"; } 2>/dev/null || continue
        [[ ${argv[0]:-} == */taskd && ${argv[1]:-} == "$demo/"* ]] || continue
        f=${f#/proc/}
        echo "${f%/cmdline}"
    done
}

down() {
    local node pid stopped=0 i
    for node in $nodes; do
        pid=$(pid_of "$node") && kill -TERM "$pid" && stopped=$((stopped + 1))
    done
    for node in $nodes; do
        for ((i = 0; i < 150; i++)); do
            pid=$(pid_of "$node") || break
            sleep 0.1
        done
        pid=$(pid_of "$node") && kill -KILL "$pid"
    done
    for pid in $(tasks); do
        kill -TERM "$pid" # it ends its task first
    done
    for ((i = 0; i < 150; i++)); do
        [ -n "$(tasks)" ] || break
        sleep 0.1
    done
    if [ -f "$demo/run_base" ]; then
        rm -rf "$(cat "$demo/run_base")"
    fi
    rm -rf "$demo"
    if [ "$stopped" -gt 0 ]; then
        echo "stopped $stopped nodes"
    else
        echo "no node of the demo runs"
    fi
}

build() {
    say "Packages"
    packages_install build || exit 1
    echo "all there"
    mkdir -p "$top" || exit 1
    say "Build (the first time takes a minute)"
    if [ ! -f "$top/build/build.ninja" ]; then
        rm -rf "$top/build"
        meson setup "$top/build" . --buildtype=release -Db_ndebug=false --prefix="$prefix" \
            >"$top/configure.log" 2>&1 </dev/null || fail "meson setup failed" "$top/configure.log"
    fi
    ninja -C "$top/build" >"$top/build.log" 2>&1 </dev/null || fail "the build failed" "$top/build.log"
    meson install -C "$top/build" --no-rebuild >"$top/install.log" 2>&1 </dev/null ||
        fail "meson install failed" "$top/install.log"
    echo "installed in $prefix ($(du -sh "$prefix" | cut -f1))"
}

write_conf() { # node
    local node=$1 addr region role
    addr=$(addr_of "$node")
    region=${node%%-*}
    role=${node#*-}
    mkdir -p "$demo/$node"
    {
        echo "region    = \"$region\""
        echo "name      = \"$node\""
        echo "data_dir  = \"$demo/$node/data\""
        echo "run_dir   = \"$run_base/$node\""
        echo "bind_addr = \"$addr\""
        echo
        echo "advertise {"
        echo "  http = \"$addr\""
        echo "  rpc  = \"$addr\""
        echo "  serf = \"$addr\""
        echo "}"
        echo
        if [ "$role" = server ]; then
            echo "server {"
            echo "  enabled          = true"
            echo "  bootstrap_expect = 1"
        else
            echo "client {"
            echo "  enabled = true"
            echo "  servers = [\"$(addr_of "$region-server"):4647\"]"
        fi
        echo "}"
        if [ "$role" != server ]; then
            printf '\nplugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}\n'
        fi
    } >"$demo/$node/node.hcl"
}

start() {
    local node addr port
    say "Start two regions of one server and two clients each"
    for node in $nodes; do
        addr=$(addr_of "$node")
        for port in 4646 4647 4648; do
            if (exec 3<>"/dev/tcp/$addr/$port") 2>/dev/null; then
                fail "port $port of $addr is in use by another program; is a Nomad running on all addresses?"
            fi
        done
    done
    mkdir -p "$demo"
    # Paths of ipc sockets end at 107 bytes: a deep checkout needs a short folder elsewhere.
    run_base=$demo/run
    if [ ${#run_base} -gt 48 ]; then
        run_base=$(mktemp -d /tmp/steppe-demo-XXXXXX) || exit 1
    fi
    echo "$run_base" >"$demo/run_base"
    for node in $nodes; do
        write_conf "$node"
        setsid "$steppe" agent "-config=$demo/$node/node.hcl" >"$demo/$node/log" 2>&1 </dev/null &
        echo $! >"$demo/$node/pid"
        printf '%-13s %-11s %s\n' "$node" "$(addr_of "$node")" "log: $demo/$node/log"
    done
}

wait_until() { # text, log, seconds, command...
    local end=$((SECONDS + $3))
    until "${@:4}" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited $3 s in vain for $1" "$2"
        sleep 0.1
    done
}

has_leader() { NOMAD_ADDR=http://$1:4646 "$steppe" server members | grep -q ' true '; }
ready_nodes() { [ "$(NOMAD_ADDR=http://$1:4646 "$steppe" node status | grep -c ' ready')" -ge 2 ]; }
sees_both() { [ "$(NOMAD_ADDR=http://$1:4646 "$steppe" server members | grep -c ' alive  *true ')" -ge 2 ]; }

all_run() { [ "$("$steppe" job status -region=east demo | grep -c ' run  *running ')" -ge 4 ]; }

run() { # expected exit status, command...: shows a command of the tutorial and what it prints
    local want=$1 rc
    shift
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
    rc=$?
    [ $rc -eq "$want" ] ||
        fail "\"$*\" ended with status $rc, not $want" "$demo/${NODE:-west-server}/log"
    [ $rc -eq 0 ] || echo "(exit status $rc, as it should be)"
}

tutorial() {
    PATH=$prefix/bin:$PATH
    unset NOMAD_REGION STEPPE_REGION NOMAD_NAMESPACE NOMAD_TOKEN STEPPE_ADDR
    for node in west-server east-server; do
        wait_until "a leader of $node" "$demo/$node/log" 20 has_leader "$(addr_of $node)"
    done
    for node in west-server east-server; do
        wait_until "the clients of $node" "$demo/$node/log" 20 ready_nodes "$(addr_of $node)"
    done
    cat >"$demo/demo.nomad" <<'JOB'
job "demo" {
  region      = "east"
  datacenters = ["dc1"]
  type        = "service"

  group "web" {
    count = 4

    task "greet" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo hello from $NOMAD_REGION, allocation $NOMAD_ALLOC_INDEX; exec sleep 3600"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
JOB
    say "Two regions that do not know each other (all commands ask the server of west)"
    export NOMAD_ADDR=http://127.0.1.1:4646
    echo "export NOMAD_ADDR=$NOMAD_ADDR"
    run 0 steppe server members
    run 0 steppe node status
    run 1 steppe status -region=east
    say "Join them: one command on any server"
    run 0 steppe server join 127.0.2.1:4648
    for node in west-server east-server; do
        wait_until "both regions on $node" "$demo/$node/log" 20 sees_both "$(addr_of $node)"
    done
    run 0 steppe server members
    say "Ask west about east, run a job there"
    run 0 steppe status -region=east
    run 0 steppe node status -region=east
    printf '\n%s$ cat %s%s\n' "$bold" "$demo/demo.nomad" "$plain"
    cat "$demo/demo.nomad"
    run 0 steppe job run "$demo/demo.nomad"
    wait_until "four running tasks" "$demo/east-server/log" 30 all_run
    run 0 steppe status -region=east
    run 0 steppe job status -region=east demo
    run 0 steppe alloc logs -region=east -job demo
}

case ${1:-} in
--down)
    down
    exit 0
    ;;
-h | --help)
    sed -n '3,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'') ;;
*)
    echo "unknown argument $1; see deploy/demo.sh --help" >&2
    exit 2
    ;;
esac

for node in $nodes; do
    if pid_of "$node" >/dev/null; then
        echo "The demo runs already (export NOMAD_ADDR=http://127.0.1.1:4646 PATH=$prefix/bin:\$PATH);"
        echo "deploy/demo.sh --down stops it."
        exit 0
    fi
done
rm -rf "$demo"
build
start
tutorial

cat <<END

The nodes stay up. Play on:

    export PATH=$prefix/bin:\$PATH NOMAD_ADDR=http://127.0.1.1:4646
    steppe server members
    steppe job status -region=east demo
    steppe job stop -region=east demo
    steppe service list -run-dir=$run_base/west-server

East's server is http://127.0.2.1:4646; the logs are $demo/*/log.
deploy/demo.sh --down stops everything and removes the data.
END
