job "a" {
  group "g" {
    task "t" {
      resources { cores = 2 }
    }
  }
}
