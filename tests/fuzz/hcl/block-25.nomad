job "a" {
  group "g" {
    volume "data" { type = "csi" source = "shared" read_only = true access_mode = "single-node-writer" attachment_mode = "file-system" per_alloc = true mount_options { fs_type = "ext4" mount_flags = ["ro"] } } volume "x" { type = "host" }
  }
}
