job "a" {
  group "g" {
    service { connect { gateway { proxy { connect_timeout = "3s" envoy_gateway_bind_tagged_addresses = true envoy_gateway_bind_addresses "a" { address = "10.0.0.1" port = 80 } envoy_gateway_no_default_bind = true envoy_dns_discovery_type = "LOGICAL_DNS" config { x = 2 } } ingress { tls { enabled = true } listener { port = 8080 protocol = "http" service { name = "s" hosts = ["h"] } } } } } }
  }
}
