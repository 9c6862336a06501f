job "a" {
  group "g" {
    constraint { attribute = "a" } affinity { attribute = "b" weight = 1 } spread { attribute = "c" } meta { zone = "z1" }
  }
}
