"""The tests of regshim and the peers, registries and engines that they run against."""
