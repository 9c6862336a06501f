job "a" {
  group "g" {
    restart { attempts = 4 interval = "10m" delay = "20s" mode = "delay" } reschedule { delay = 5 } ephemeral_disk { sticky = true migrate = true size = 150 } update { canary = 1 } migrate { max_parallel = 2 }
  }
}
