job "a" {
  group "g" {
    task "t" {
      scaling "cpu" { min = 50 max = 100 enabled = false policy { a = "b" } } scaling "MEM" { max = 1 }
    }
  }
}
