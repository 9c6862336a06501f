job "a" {
  group "g" {
    service { check { name = "c" type = "http" interval = "10s" timeout = "2s" path = "/" protocol = "https" port = "p" expose = true command = "/x" args = ["-v"] initial_status = "passing" tls_skip_verify = true method = "POST" address_mode = "driver" grpc_service = "g" grpc_use_tls = true task = "t" success_before_passing = 1 failures_before_critical = 2 header { A = ["x", "y"] } header { B = ["z"] } check_restart { limit = 1 } } check { type = "tcp" } }
  }
}
