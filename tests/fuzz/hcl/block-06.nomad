job "a" {
  update { stagger = "15s" max_parallel = 2 health_check = "checks" min_healthy_time = "5s" healthy_deadline = "2m" progress_deadline = 0 auto_revert = true auto_promote = false canary = 1 }
}
