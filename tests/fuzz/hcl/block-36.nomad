job "a" {
  group "g" {
    task "t" {
      constraint { attribute = "a" } affinity { attribute = "b" } volume_mount { volume = "v" destination = "/d" read_only = true propagation_mode = "host-to-task" } volume_mount { volume = "w" }
    }
  }
}
