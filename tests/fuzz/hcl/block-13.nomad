job "a" { id = "i" name = "n" }
