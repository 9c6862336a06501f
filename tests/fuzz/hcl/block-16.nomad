job "a" {
  group "g" {
    count = 3 shutdown_delay = "3s" stop_after_client_disconnect = "1m"
  }
}
