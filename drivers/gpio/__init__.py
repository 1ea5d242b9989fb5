"""Lines: relays as outputs of their own, buttons and sensors through gpiozero."""
