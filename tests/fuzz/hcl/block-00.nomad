job "a" {
  region = "east" namespace = "n" datacenters = ["dc1", "dc2"] type = "batch" priority = 70 all_at_once = true vault_token = "v" consul_token = "c"
}
