job "a" {
  migrate { max_parallel = 1 health_check = "task_states" min_healthy_time = "1.5s" healthy_deadline = "1h2m" }
}
