job "a" {
  group "g" {
    task "t" {
      vault { policies = ["p"] env = false } service { name = "s" port = "p" }
    }
  }
}
