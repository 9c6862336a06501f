job "a" {
  group "g" {
    scaling { enabled = true min = 1 max = 5 policy { cooldown = "1m" check "c" { source = "p" } } }
  }
}
