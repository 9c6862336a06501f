job "a" {
  group "g" {
    task "t" {
      resources {} logs { max_files = 3 max_file_size = 5 } restart { mode = "fail" } dispatch_payload { file = "f" } lifecycle { hook = "prestart" sidecar = true } csi_plugin { id = "i" type = "node" mount_dir = "/csi" }
    }
  }
}
