job "a" {
  group "g" {
    task "t" {
      artifact { source = "https://x/y.tgz" destination = "local/" mode = "file" options { checksum = "md5:1" depth = 1 } } artifact { source = "z" }
    }
  }
}
