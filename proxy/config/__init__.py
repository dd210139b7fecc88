"""The configuration: a YAML file and the environment → one frozen Config without contradictions."""
