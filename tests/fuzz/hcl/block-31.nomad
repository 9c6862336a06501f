job "a" {
  group "g" {
    task "t" {
      env { MODE = "prod" WORKERS = 4 DEBUG = true OFF = false F = 0.1 } env = { MODE = "dev" } meta { a = "b" }
    }
  }
}
