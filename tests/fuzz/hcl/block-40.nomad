job "a" {
  group "g" {
    task "t" {
      artifact { source = "s" headers { X = "y" } }
    }
  }
}
