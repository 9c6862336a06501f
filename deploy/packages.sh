#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Sourced by the scripts: packages_install GROUP... installs what deploy/packages.txt lists for the
# groups and dpkg does not have yet. Needs root or sudo only when something is missing.

packages_missing() {
    local list group name g
    list=$(dirname "${BASH_SOURCE[0]}")/packages.txt
    while read -r group name; do
        for g in "$@"; do
            if [ "$group" = "$g" ] &&
               [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
                printf '%s ' "$name"
            fi
        done
    done < <(grep -v '^#' "$list")
}

packages_install() {
    local missing root=()
    if ! command -v dpkg-query >/dev/null; then
        echo "this is not Debian: install what deploy/packages.txt lists by hand" >&2
        return 0
    fi
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    echo "installing: $missing"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "error: missing packages, and neither root nor sudo to install them: $missing" >&2
            return 1
        fi
        root=(sudo)
    fi
    root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # The lists may be absent (fresh image) or old (a package's file is gone): update, and once more.
    # shellcheck disable=SC2086 # $missing is a list of words
    "${root[@]}" -y --no-install-recommends install $missing </dev/null >/dev/null 2>&1 && return 0
    "${root[@]}" update </dev/null || true
    # shellcheck disable=SC2086
    "${root[@]}" -y --no-install-recommends install $missing </dev/null >/dev/null || {
        echo "error: apt-get could not install: $missing" >&2
        return 1
    }
}
