job "a" {
  group "g" {
    scaling { max = 1 type = "horizontal" }
  }
}
