job "a" {
  affinity { attribute = "a" value = "b" weight = -20 } affinity { attribute = "c" set_contains_any = "x" } affinity { set_contains_all = "x" } affinity { set_contains = "y" operator = "z" } affinity { attribute = "v" version = "1" }
}
