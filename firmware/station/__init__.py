"""What a door station does: ring plans, calls, access policy, events."""
