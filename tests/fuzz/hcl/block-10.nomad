job "a" {
  periodic { enabled = false }
}
