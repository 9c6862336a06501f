job "a" {
  meta { a = 1 b = true c = 1.50 d = "x" e = 1e21 f = 0.000001 } meta = { a = "2" g = -0.5 }
}
