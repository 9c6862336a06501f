job "a" {
  group "g" {
    service { connect { native = true } }
  }
}
