"""Finding out what went wrong: explanations, self tests, recordings. Reads events; changes nothing."""
