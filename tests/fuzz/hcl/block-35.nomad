job "a" {
  group "g" {
    task "t" {
      template { data = <<EOH
port={{ env "X" }}
EOH
 destination = "d" change_mode = "signal" change_signal = "SIGHUP" splay = "1s" perms = "600" left_delimiter = "<<" right_delimiter = ">>" env = true vault_grace = "1m" } template { source = "s" }
    }
  }
}
