job "a" { task "t" { driver = "exec" } task "u" {} group "g" { task "v" { vault { env = false } } } vault { policies = ["p"] namespace = "n" change_mode = "signal" change_signal = "SIGUSR1" } }
