job "a" {
  group "g" {
    task "t" {
      resources { cpu = 200 memory = 128 memory_max = "256" disk = 10 iops = 1 network { mbits = 10 port "rpc" {} port "ssh" { static = 22 } } device "nvidia/gpu" { count = 2 constraint { attribute = "m" operator = ">=" value = "2 GiB" } affinity { attribute = "x" weight = 50 } } device "intel/fpga" {} }
    }
  }
}
