job "a" {
  constraint { attribute = "${attr.kernel.name}" value = "linux" } constraint { attribute = "a" operator = "!=" value = 3 } constraint { attribute = "v" version = "> 1" } constraint { attribute = "s" semver = "> 1" } constraint { attribute = "r" regexp = "^x" } constraint { attribute = "c" set_contains = "a,b" } constraint { distinct_hosts = true } constraint { distinct_hosts = "0" } constraint { distinct_property = "${meta.rack}" value = "2" } constraint { operator = "" }
}
