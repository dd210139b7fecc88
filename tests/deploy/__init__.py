"""What deploy/ carries, tried with the programs that read it."""
