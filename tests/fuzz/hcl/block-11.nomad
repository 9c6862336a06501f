job "a" {
  parameterized { payload = "required" meta_required = ["a"] meta_optional = "b" }
}
