"""The lock process `portero-door`: sole owner of the relay lines, with no code that the network can reach."""
