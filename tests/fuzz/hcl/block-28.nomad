job "a" {
  group "g" {
    task "t" {
      driver = "exec" user = "u" kill_timeout = "20s" kill_signal = "SIGINT" shutdown_delay = "1s" leader = true kind = "k"
    }
  }
}
