"""Every socket of the station, and the asyncio shells round the pure protocol parts."""
