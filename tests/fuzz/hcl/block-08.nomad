job "a" {
  reschedule { attempts = 3 interval = "1h" unlimited = false delay = "5s" max_delay = "1m" delay_function = "constant" }
}
