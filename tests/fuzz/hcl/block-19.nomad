job "a" {
  group "g" {
    network { mode = "bridge" mbits = 5 dns { servers = ["1.1.1.1"] searches = ["x"] options = ["ndots:2"] } port "http" {} port "admin" { static = 24900 } port "db" { to = 5432 host_network = "public" } port "z" { static = 0 } }
  }
}
