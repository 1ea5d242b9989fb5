"""Media sessions: the one-tick audio thread, one-encode video fan-out, codecs and tones."""
