job "a" { group "g" { task "t" {} vault { policies = "q" } task "u" { vault { change_mode = "noop" } } } }
