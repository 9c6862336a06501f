job "a" {
  group "g" {
    service { name = "s" tags = ["a"] canary_tags = "c" enable_tag_override = true port = "http" address_mode = "host" task = "t" meta { k = 1 } canary_meta { k = "v" } check_restart { limit = 3 grace = "90s" ignore_warnings = true } } service { port = 80 }
  }
}
