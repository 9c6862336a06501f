job "a" {
  group "g" {
    service { connect { sidecar_service { port = "p" tags = ["t"] disable_default_tcp_check = true proxy { local_service_address = "127.0.0.1" local_service_port = 80 upstreams { destination_name = "d" local_bind_port = 8080 } upstreams { destination_name = "e" } expose { path { path = "/m" protocol = "http" local_path_port = 9 listener_port = "x" } } config { a = 1 b { c = "d" } } } } sidecar_task { name = "n" driver = "docker" user = "u" kill_timeout = "5s" shutdown_delay = "1s" kill_signal = "SIGINT" config { image = "i" } env { A = 1 } meta { m = "n" } resources { cpu = 5 } logs { max_files = 1 } } } }
  }
}
