"""What somebody shows or types at the door: cards and tags (Wiegand, RFID), keypads."""
