job "a" {
  datacenters = "dc1" priority = "7" all_at_once = "false"
}
