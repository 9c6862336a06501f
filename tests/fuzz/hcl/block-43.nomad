job "a" {
  group "g" {
    service { connect { gateway { proxy {} terminating { service { name = "s" ca_file = "a" cert_file = "b" key_file = "c" sni = "d" } } } } }
  }
}
