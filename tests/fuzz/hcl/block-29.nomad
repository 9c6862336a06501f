job "a" {
  group "g" {
    task "t" {
      config { command = "/bin/sh" args = ["-c", "x ${NOMAD_PORT_http}"] n = 5 f = 1.5 b = true labels { a = "1" b = 2 } labels { c = "3" } mounts = [{ type = "bind" o { p = 1 } }] list = [1, "a", [2]] h = { i = "j" } e = [] } config { n = 6 }
    }
  }
}
