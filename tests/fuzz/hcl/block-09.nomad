job "a" {
  periodic { cron = "*/5 * * * *" prohibit_overlap = true time_zone = "Europe/Berlin" enabled = "true" }
}
