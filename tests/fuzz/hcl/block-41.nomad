job "a" {
  group "g" {
    service { on_update = "ignore" check { on_update = "require_healthy" body = "b" } connect { sidecar_service { proxy { upstreams { datacenter = "d" local_bind_address = "127.0.0.1" } } } } }
  }
}
