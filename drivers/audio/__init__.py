"""Microphone and speaker of the door."""
