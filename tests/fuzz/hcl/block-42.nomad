job "a" {
  group "g" {
    consul { namespace = "n" }
  }
}
